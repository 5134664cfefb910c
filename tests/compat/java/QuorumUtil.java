package org.apache.zookeeper.test;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.apache.zookeeper.PortAssignment;
import org.apache.zookeeper.server.quorum.ProcessPeer;
import org.apache.zookeeper.server.quorum.QuorumPeer;
import org.apache.zookeeper.server.quorum.QuorumPeer.ServerState;
import org.apache.zookeeper.server.quorum.QuorumPeerConfig;

/**
 * Stands in for the class of this name among ZooKeeper's tests: an ensemble of 2N+1 servers, here each a process. A server that
 * starts again finds the files that it has left, as one of an operator does.
 */
public class QuorumUtil {
    public final int N;
    public final int ALL;
    /** Tests set it; there are no beans of JMX here. */
    public boolean disableJMXTest = false;

    private final Map<Integer, PeerStruct> peers = new TreeMap<>();
    private final String servers;
    private final String hostPort;
    private final int syncLimit;
    private boolean localSessionEnabled;

    public static class PeerStruct {
        public int id;
        public QuorumPeer peer;
        public File dataDir;
        public int clientPort;
    }

    public QuorumUtil(int n) {
        this(n, 3);
    }

    public QuorumUtil(int n, int syncLimit) {
        N = n;
        ALL = 2 * n + 1;
        this.syncLimit = syncLimit;
        StringBuilder lines = new StringBuilder();
        List<String> hosts = new ArrayList<>();
        try {
            for (int id = 1; id <= ALL; id++) {
                PeerStruct peer = new PeerStruct();
                peer.id = id;
                peer.dataDir = ClientBase.createTmpDir();
                peer.clientPort = PortAssignment.unique();
                peers.put(id, peer);
                lines.append("server.").append(id).append("=127.0.0.1:").append(PortAssignment.unique()).append(':')
                        .append(PortAssignment.unique()).append(":participant;127.0.0.1:").append(peer.clientPort).append('\n');
                hosts.add("127.0.0.1:" + peer.clientPort);
            }
            servers = lines.toString();
            hostPort = String.join(",", hosts);
            for (PeerStruct peer : peers.values()) {
                writeConfig(peer);
                peer.peer = new ProcessPeer(peer.id, configOf(peer).toFile());
            }
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private static Path configOf(PeerStruct peer) {
        return peer.dataDir.toPath().resolve("zoo.cfg");
    }

    private void writeConfig(PeerStruct peer) throws IOException {
        Path data = peer.dataDir.toPath().resolve("data");
        Files.createDirectories(data);
        Files.writeString(data.resolve("myid"), peer.id + "\n");
        Files.writeString(configOf(peer), "tickTime=2000\ninitLimit=3\nsyncLimit=" + syncLimit
                + "\nconnectToLearnerMasterLimit=3\ndataDir=" + data + "\n" + servers);
    }

    /** Sets the keys that a test may change between two starts. */
    private void writeSettings(PeerStruct peer) throws IOException {
        List<String> lines = new ArrayList<>(Files.readAllLines(configOf(peer)));
        lines.removeIf(line -> line.startsWith("reconfigEnabled=") || line.startsWith("localSessionsEnabled="));
        lines.add("reconfigEnabled=" + QuorumPeerConfig.isReconfigEnabled());
        lines.add("localSessionsEnabled=" + localSessionEnabled);
        Files.write(configOf(peer), lines);
    }

    public PeerStruct getPeer(int id) {
        PeerStruct peer = peers.get(id);
        if (peer != null) {
            ((ProcessPeer) peer.peer).refresh();
        }
        return peer;
    }

    public void enableLocalSession(boolean enabled) {
        localSessionEnabled = enabled;
    }

    public void startAll() throws IOException {
        shutdownAll();
        for (int id = 1; id <= ALL; id++) {
            start(id);
        }
        for (PeerStruct peer : peers.values()) {
            waitUp(peer);
        }
    }

    public void startQuorum() throws IOException {
        shutdownAll();
        for (int id = 1; id <= N + 1; id++) {
            start(id);
        }
        for (int id = 1; id <= N + 1; id++) {
            waitUp(peers.get(id));
        }
    }

    private static void waitUp(PeerStruct peer) {
        String address = "127.0.0.1:" + peer.clientPort;
        assertTrue(ClientBase.waitForServerUp(address, ClientBase.CONNECTION_TIMEOUT), "server " + peer.id + " does not serve");
    }

    public void start(int id) throws IOException {
        PeerStruct peer = peers.get(id);
        writeSettings(peer);
        peer.peer = new ProcessPeer(id, configOf(peer).toFile());
        peer.peer.start();
    }

    public void restart(int id) throws IOException {
        start(id);
        waitUp(peers.get(id));
    }

    public void startThenShutdown(int id) throws IOException {
        restart(id);
        shutdown(id);
    }

    public void shutdownAll() {
        for (PeerStruct peer : peers.values()) {
            peer.peer.shutdown();
        }
    }

    /**
     * Ends a server. Where that leaves no majority, the others are to have noticed when this returns, as they have when all are
     * one process: a follower that has not yet does not serve for reads only.
     */
    public void shutdown(int id) {
        boolean hasRun = isRunning(peers.get(id));
        peers.get(id).peer.shutdown();
        // A reconfiguration may have made a majority of fewer.
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(2);
        while (hasRun && peers.values().stream().filter(QuorumUtil::isRunning).count() <= N && hasMember()
                && System.nanoTime() < end) {
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(10));
        }
    }

    private static boolean isRunning(PeerStruct peer) {
        return ((ProcessPeer) peer.peer).isRunningProcess();
    }

    /** Whether a server says that it leads or follows. */
    private boolean hasMember() {
        return peers.values().stream().anyMatch(peer -> peer.peer.getPeerState() != ServerState.LOOKING);
    }

    public String getConnString() {
        return hostPort;
    }

    public String getConnectString(QuorumPeer peer) {
        return "127.0.0.1:" + peer.getClientPort();
    }

    public String getConnectionStringForServer(int id) {
        return "127.0.0.1:" + peers.get(id).clientPort;
    }

    public boolean allPeersAreConnected() {
        EnumSet<ServerState> connected = EnumSet.of(ServerState.LEADING, ServerState.FOLLOWING, ServerState.OBSERVING);
        return peers.values().stream().allMatch(peer -> connected.contains(peer.peer.getPeerState()));
    }

    public QuorumPeer getLeaderQuorumPeer() {
        return peers.get(getLeaderServer()).peer;
    }

    public List<QuorumPeer> getFollowerQuorumPeers() {
        List<QuorumPeer> followers = new ArrayList<>();
        for (int id = 1; id <= ALL; id++) {
            if (getPeer(id).peer.leader == null) {
                followers.add(getPeer(id).peer);
            }
        }
        return followers;
    }

    public boolean leaderExists() {
        for (int id = 1; id <= ALL; id++) {
            if (getPeer(id).peer.leader != null) {
                return true;
            }
        }
        return false;
    }

    public int getLeaderServer() {
        for (int id = 1; id <= ALL; id++) {
            if (getPeer(id).peer.leader != null) {
                return id;
            }
        }
        return fail("no server leads");
    }

    public void tearDown() throws Exception {
        shutdownAll();
    }
}
