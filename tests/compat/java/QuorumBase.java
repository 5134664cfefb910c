package org.apache.zookeeper.test;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.stream.Collectors;
import org.apache.zookeeper.PortAssignment;
import org.apache.zookeeper.TestableZooKeeper;
import org.apache.zookeeper.server.quorum.ProcessPeer;
import org.apache.zookeeper.server.quorum.QuorumPeer;
import org.apache.zookeeper.server.quorum.QuorumPeer.LearnerType;
import org.apache.zookeeper.server.quorum.QuorumPeer.ServerState;
import org.apache.zookeeper.server.quorum.QuorumPeerConfig;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/**
 * Stands in for the class of this name among ZooKeeper's tests: an ensemble of five servers, here each a process. There is no
 * oracle: it decides for ensembles of two.
 */
public class QuorumBase extends ClientBase {
    private static final int COUNT = 5;

    File s1dir;
    File s2dir;
    File s3dir;
    File s4dir;
    File s5dir;
    QuorumPeer s1;
    QuorumPeer s2;
    QuorumPeer s3;
    QuorumPeer s4;
    QuorumPeer s5;
    protected boolean localSessionsEnabled = false;
    protected boolean localSessionsUpgradingEnabled = false;

    private int[] ports;
    private String servers;

    @BeforeEach
    @Override
    public void setUp() throws Exception {
        setUp(false, true);
    }

    protected void setUp(boolean withObservers, boolean withOracle) throws Exception {
        setUpAll();
        s1dir = createTmpDir();
        s2dir = createTmpDir();
        s3dir = createTmpDir();
        s4dir = createTmpDir();
        s5dir = createTmpDir();
        ports = new int[COUNT];
        for (int i = 0; i < COUNT; i++) {
            ports[i] = PortAssignment.unique();
        }
        hostPort = Arrays.stream(ports).mapToObj(port -> "127.0.0.1:" + port).collect(Collectors.joining(","));
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < COUNT; i++) {
            lines.append("server.").append(i + 1).append("=127.0.0.1:").append(PortAssignment.unique()).append(':')
                    .append(PortAssignment.unique()).append(withObservers && i >= 3 ? ":observer;" : ":participant;")
                    .append("127.0.0.1:").append(ports[i]).append('\n');
        }
        servers = lines.toString();
        startServers(withObservers, withOracle);
    }

    void startServers() throws Exception {
        startServers(false, true);
    }

    void startServers(boolean withObservers, boolean withOracle) throws Exception {
        setupServers();
        for (QuorumPeer peer : getPeerList()) {
            peer.start();
        }
        for (int port : ports) {
            assertTrue(waitForServerUp("127.0.0.1:" + port, CONNECTION_TIMEOUT), "a server does not serve");
        }
    }

    public void setupServers() throws IOException {
        for (int sid = 1; sid <= COUNT; sid++) {
            setupServer(sid);
        }
    }

    public void setupServer(int sid) throws IOException {
        File folder = new File[] {s1dir, s2dir, s3dir, s4dir, s5dir}[sid - 1];
        Path config = folder.toPath().resolve("zoo.cfg");
        Files.writeString(folder.toPath().resolve("myid"), sid + "\n");
        Files.writeString(config, "tickTime=2000\ninitLimit=3\nsyncLimit=3\nconnectToLearnerMasterLimit=3\ndataDir=" + folder
                + "\nlocalSessionsEnabled=" + localSessionsEnabled
                + "\nlocalSessionsUpgradingEnabled=" + localSessionsUpgradingEnabled
                + "\nreconfigEnabled=" + QuorumPeerConfig.isReconfigEnabled() + "\n" + servers);
        ProcessPeer peer = new ProcessPeer(sid, config.toFile());
        switch (sid) {
        case 1:
            s1 = peer;
            break;
        case 2:
            s2 = peer;
            break;
        case 3:
            s3 = peer;
            break;
        case 4:
            s4 = peer;
            break;
        default:
            s5 = peer;
        }
    }

    public ArrayList<QuorumPeer> getPeerList() {
        return new ArrayList<>(Arrays.asList(s1, s2, s3, s4, s5));
    }

    public int getLeaderIndex() {
        ArrayList<QuorumPeer> peers = getPeerList();
        for (int i = 0; i < COUNT; i++) {
            if (peers.get(i).getPeerState() == ServerState.LEADING) {
                return i;
            }
        }
        return -1;
    }

    public int getLeaderClientPort() {
        int index = getLeaderIndex();
        return index < 0 ? -1 : ports[index];
    }

    public QuorumPeer getLeaderQuorumPeer() {
        int index = getLeaderIndex();
        return index < 0 ? null : getPeerList().get(index);
    }

    public QuorumPeer getFirstObserver() {
        for (QuorumPeer peer : getPeerList()) {
            if (peer.getLearnerType() == LearnerType.OBSERVER) {
                return peer;
            }
        }
        return null;
    }

    public int getFirstObserverClientPort() {
        QuorumPeer observer = getFirstObserver();
        return observer == null ? -1 : observer.getClientPort();
    }

    public String getPeersMatching(ServerState state) {
        StringBuilder hosts = new StringBuilder();
        for (QuorumPeer peer : getPeerList()) {
            if (peer.getPeerState() == state) {
                hosts.append("127.0.0.1:").append(peer.getClientPort()).append(',');
            }
        }
        return hosts.toString();
    }

    public QuorumPeer getPeerByClientPort(int port) {
        for (QuorumPeer peer : getPeerList()) {
            if (peer.getClientPort() == port) {
                return peer;
            }
        }
        return null;
    }

    @AfterEach
    @Override
    public void tearDown() throws Exception {
        tearDownAll();
        shutdownServers();
    }

    public void shutdownServers() {
        for (QuorumPeer peer : getPeerList()) {
            shutdown(peer);
        }
    }

    public static void shutdown(QuorumPeer peer) {
        if (peer != null) {
            peer.shutdown();
        }
    }

    protected TestableZooKeeper createClient(CountdownWatcher watcher, ServerState state)
            throws IOException, InterruptedException {
        return createClient(watcher, getPeersMatching(state));
    }
}
