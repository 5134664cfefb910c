package org.apache.zookeeper.server.quorum;

import java.io.File;
import java.io.FileReader;
import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.zookeeper.PortAssignment;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZKTestCase;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.server.admin.JettyAdminServer;
import org.apache.zookeeper.test.ClientBase;
import org.junit.jupiter.api.AfterEach;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Stands in for the class of this name among ZooKeeper's tests: a base for tests that write a zoo.cfg for each server. A
 * MainThread is a process here.
 */
public class QuorumPeerTestBase extends ZKTestCase implements Watcher {
    protected static final Logger LOG = LoggerFactory.getLogger(QuorumPeerTestBase.class);
    public static final int TIMEOUT = 5000;

    protected Servers servers;
    protected int numServers = 0;

    @AfterEach
    public void tearDown() throws Exception {
        if (servers != null && servers.mt != null) {
            servers.shutDownAllServers();
        }
    }

    @Override
    public void process(WatchedEvent event) {
    }

    /** Tests derive from it to start a server of their own classes, which no other process can have. */
    public static class TestQPMain extends QuorumPeerMain {
        public void shutdown() {
            if (quorumPeer != null) {
                quorumPeer.shutdown();
            }
        }
    }

    public static class MainThread implements Runnable {
        public static final int UNSET_STATIC_CLIENTPORT = -1;
        public static final int UNSET_MYID = -1;

        final File confFile;
        /** Where the zoo.cfg is, or where the data is: the tests' constructors differ. */
        final File tmpDir;
        final File baseDir;
        volatile TestQPMain main;

        private final File dataDir;
        private final int myid;
        private final int clientPort;
        private final String quorumCfgSection;
        private final Map<String, String> otherConfigs;

        public MainThread(int myid, int clientPort, String quorumCfgSection) throws IOException {
            this(myid, clientPort, quorumCfgSection, new HashMap<>());
        }

        public MainThread(int myid, int clientPort, String quorumCfgSection, Map<String, String> otherConfigs)
                throws IOException {
            this(myid, clientPort, quorumCfgSection, otherConfigs, 4000);
        }

        public MainThread(int myid, int clientPort, String quorumCfgSection, Map<String, String> otherConfigs, int tickTime)
                throws IOException {
            this.myid = myid;
            this.clientPort = clientPort;
            this.quorumCfgSection = quorumCfgSection;
            this.otherConfigs = otherConfigs;
            baseDir = ClientBase.createTmpDir();
            dataDir = new File(baseDir, "data");
            tmpDir = dataDir;
            confFile = new File(baseDir, "zoo.cfg");
            StringBuilder text = new StringBuilder();
            text.append("tickTime=").append(tickTime).append("\ninitLimit=10\nsyncLimit=5\nconnectToLearnerMasterLimit=5\n")
                    .append("dataDir=").append(dataDir).append("\nclientPort=").append(clientPort).append('\n');
            otherConfigs.forEach((key, value) -> text.append(key).append('=').append(value).append('\n'));
            write(text.append(quorumCfgSection).append('\n'));
        }

        public MainThread(int myid, String quorumCfgSection) throws IOException {
            this(myid, quorumCfgSection, true);
        }

        public MainThread(int myid, String quorumCfgSection, Integer secureClientPort, boolean writeDynamicConfigFile)
                throws IOException {
            this(myid, UNSET_STATIC_CLIENTPORT, JettyAdminServer.DEFAULT_PORT, secureClientPort, quorumCfgSection, null, null,
                    writeDynamicConfigFile, null);
        }

        public MainThread(int myid, String quorumCfgSection, boolean writeDynamicConfigFile) throws IOException {
            this(myid, UNSET_STATIC_CLIENTPORT, quorumCfgSection, writeDynamicConfigFile);
        }

        public MainThread(int myid, int clientPort, String quorumCfgSection, boolean writeDynamicConfigFile)
                throws IOException {
            this(myid, clientPort, quorumCfgSection, (String) null, writeDynamicConfigFile);
        }

        public MainThread(int myid, int clientPort, String quorumCfgSection, String peerType, boolean writeDynamicConfigFile)
                throws IOException {
            this(myid, clientPort, JettyAdminServer.DEFAULT_PORT, quorumCfgSection, null, peerType, writeDynamicConfigFile);
        }

        public MainThread(int myid, int clientPort, String quorumCfgSection, boolean writeDynamicConfigFile, String version)
                throws IOException {
            this(myid, clientPort, JettyAdminServer.DEFAULT_PORT, quorumCfgSection, null, null, writeDynamicConfigFile, version);
        }

        public MainThread(int myid, int clientPort, String quorumCfgSection, String configs) throws IOException {
            this(myid, clientPort, JettyAdminServer.DEFAULT_PORT, quorumCfgSection, configs);
        }

        public MainThread(int myid, int clientPort, int adminServerPort, String quorumCfgSection, String configs)
                throws IOException {
            this(myid, clientPort, adminServerPort, quorumCfgSection, configs, null, true);
        }

        public MainThread(int myid, int clientPort, int adminServerPort, String quorumCfgSection, String configs,
                String peerType, boolean writeDynamicConfigFile) throws IOException {
            this(myid, clientPort, adminServerPort, quorumCfgSection, configs, peerType, writeDynamicConfigFile, null);
        }

        public MainThread(int myid, int clientPort, int adminServerPort, String quorumCfgSection, String configs,
                String peerType, boolean writeDynamicConfigFile, String version) throws IOException {
            this(myid, clientPort, adminServerPort, null, quorumCfgSection, configs, peerType, writeDynamicConfigFile, version);
        }

        public MainThread(int myid, int clientPort, int adminServerPort, Integer secureClientPort, String quorumCfgSection,
                String configs, String peerType, boolean writeDynamicConfigFile, String version) throws IOException {
            this.myid = myid;
            this.clientPort = clientPort;
            this.quorumCfgSection = quorumCfgSection;
            this.otherConfigs = null;
            baseDir = null;
            tmpDir = ClientBase.createTmpDir();
            dataDir = new File(tmpDir, "data");
            confFile = new File(tmpDir, "zoo.cfg");
            StringBuilder text = new StringBuilder("tickTime=4000\ninitLimit=10\nsyncLimit=5\nconnectToLearnerMasterLimit=5\n");
            text.append(configs == null ? "" : configs).append("dataDir=").append(dataDir)
                    .append("\nadmin.serverPort=").append(adminServerPort).append('\n');
            if (clientPort != UNSET_STATIC_CLIENTPORT) {
                text.append("clientPort=").append(clientPort).append('\n');
            }
            if (secureClientPort != null) {
                text.append("secureClientPort=").append(secureClientPort).append('\n');
            }
            if (peerType != null) {
                text.append("peerType=").append(peerType).append('\n');
            }
            if (writeDynamicConfigFile) {
                File dynamic = new File(tmpDir, "zoo.cfg.dynamic" + (version == null ? "" : "." + version));
                Files.writeString(dynamic.toPath(), quorumCfgSection);
                text.append("dynamicConfigFile=").append(dynamic).append('\n');
            } else {
                text.append(quorumCfgSection);
            }
            write(text);
        }

        private void write(StringBuilder text) throws IOException {
            Files.createDirectories(dataDir.toPath());
            Files.writeString(dataDir.toPath().resolve("myid"), Integer.toString(myid));
            ClientBase.createInitializeFile(dataDir);
            Files.writeString(confFile.toPath(), text);
            share();
        }

        /**
         * Two settings are variables of the tests' process, which a test sets itself or by the zoo.cfg of a server. A server of
         * another process has them from its zoo.cfg only.
         */
        private void share() throws IOException {
            Properties keys = readConfig();
            StringBuilder more = new StringBuilder();
            if (keys.containsKey("reconfigEnabled")) {
                QuorumPeerConfig.setReconfigEnabled(Boolean.parseBoolean(keys.getProperty("reconfigEnabled")));
            } else if (QuorumPeerConfig.isReconfigEnabled()) {
                more.append("reconfigEnabled=true\n");
            }
            if (keys.containsKey("standaloneEnabled")) {
                QuorumPeerConfig.setStandaloneEnabled(Boolean.parseBoolean(keys.getProperty("standaloneEnabled")));
            } else if (!QuorumPeerConfig.isStandaloneEnabled()) {
                more.append("standaloneEnabled=false\n");
            }
            if (more.length() > 0) {
                String text = Files.readString(confFile.toPath());
                Files.writeString(confFile.toPath(), text.isEmpty() || text.endsWith("\n") ? more : "\n" + more,
                        StandardOpenOption.APPEND);
            }
        }

        private Properties readConfig() throws IOException {
            Properties keys = new Properties();
            try (Reader reader = new FileReader(confFile)) {
                keys.load(reader);
            }
            return keys;
        }

        public File[] getDynamicFiles() {
            return getFilesWithPrefix("zoo.cfg.dynamic");
        }

        public File[] getFilesWithPrefix(String prefix) {
            return tmpDir.listFiles((folder, name) -> name.startsWith(prefix));
        }

        public File getFileByName(String name) {
            File file = new File(tmpDir.getPath(), name);
            return file.isFile() ? file : null;
        }

        public void writeTempDynamicConfigFile(String next, String version) throws IOException {
            Path file = new File(tmpDir, "zoo.cfg" + QuorumPeerConfig.nextDynamicConfigFileSuffix).toPath();
            Files.writeString(file, next + "\nversion=" + version);
        }

        public synchronized void start() {
            start(getTestQPMain());
        }

        public synchronized void start(TestQPMain main) {
            if (main.getClass() != TestQPMain.class) {
                throw new UnsupportedOperationException("a server of the test's own classes");
            }
            try {
                share();
                main.quorumPeer = new ProcessPeer(myid, confFile);
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
            this.main = main;
            main.quorumPeer.start();
        }

        public TestQPMain getTestQPMain() {
            return new TestQPMain();
        }

        @Override
        public void run() {
            throw new UnsupportedOperationException("a process is started");
        }

        private ProcessPeer peer() {
            return main == null ? null : (ProcessPeer) main.quorumPeer;
        }

        public void shutdown() throws InterruptedException {
            if (main != null) {
                main.shutdown();
            }
        }

        public void join(long timeout) throws InterruptedException {
            if (peer() != null) {
                peer().awaitEnd(timeout);
            }
        }

        public boolean isAlive() {
            return peer() != null && peer().isRunningProcess();
        }

        /** Whether the server is a member of an ensemble. */
        public boolean isQuorumPeerRunning() {
            return isAlive() && !peer().isStandalone();
        }

        public String getPropFromStaticFile(String key) throws IOException {
            return readConfig().getProperty(key, "");
        }

        public QuorumPeer getQuorumPeer() {
            return peer() == null ? null : peer().refresh();
        }

        public void deleteBaseDir() {
            ClientBase.recursiveDelete(baseDir);
        }

        public int getMyid() {
            return myid;
        }

        public int getClientPort() {
            return clientPort;
        }

        public String getQuorumCfgSection() {
            return quorumCfgSection;
        }

        public Map<String, String> getOtherConfigs() {
            return otherConfigs;
        }

        public File getConfFile() {
            return confFile;
        }
    }

    /** Servers, and a client for each. */
    public static class Servers {
        public MainThread[] mt;
        public ZooKeeper[] zk;
        public int[] clientPorts;
        public int[] adminPorts;

        public void shutDownAllServers() throws InterruptedException {
            for (MainThread server : mt) {
                server.shutdown();
            }
        }

        public void restartAllServersAndClients(Watcher watcher) throws IOException, InterruptedException {
            for (MainThread server : mt) {
                if (!server.isAlive()) {
                    server.start();
                }
            }
            for (int i = 0; i < zk.length; i++) {
                restartClient(i, watcher);
            }
        }

        public void restartClient(int index, Watcher watcher) throws IOException, InterruptedException {
            if (zk[index] != null) {
                zk[index].close();
            }
            zk[index] = new ZooKeeper("127.0.0.1:" + clientPorts[index], ClientBase.CONNECTION_TIMEOUT, watcher);
        }

        private int find(QuorumPeer.ServerState state) {
            for (int i = 0; i < mt.length; i++) {
                if (mt[i].getQuorumPeer().getPeerState() == state) {
                    return i;
                }
            }
            return -1;
        }

        public int findLeader() {
            return find(QuorumPeer.ServerState.LEADING);
        }

        public int findAnyFollower() {
            return find(QuorumPeer.ServerState.FOLLOWING);
        }

        public int findAnyObserver() {
            return find(QuorumPeer.ServerState.OBSERVING);
        }
    }

    protected Servers LaunchServers(int participants) throws IOException, InterruptedException {
        return LaunchServers(participants, (Integer) null);
    }

    protected Servers LaunchServers(int participants, Map<String, String> otherConfigs)
            throws IOException, InterruptedException {
        return LaunchServers(participants, 0, null, otherConfigs);
    }

    protected Servers LaunchServers(int participants, Integer tickTime) throws IOException, InterruptedException {
        return LaunchServers(participants, 0, tickTime);
    }

    protected Servers LaunchServers(int participants, int observers, Integer tickTime)
            throws IOException, InterruptedException {
        return LaunchServers(participants, observers, tickTime, new HashMap<>());
    }

    protected Servers LaunchServers(int participants, int observers, Integer tickTime, Map<String, String> otherConfigs)
            throws IOException, InterruptedException {
        int count = participants + observers;
        Servers launched = new Servers();
        launched.mt = new MainThread[count];
        launched.zk = new ZooKeeper[count];
        launched.clientPorts = new int[count];
        launched.adminPorts = new int[count];
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < count; i++) {
            launched.clientPorts[i] = PortAssignment.unique();
            launched.adminPorts[i] = PortAssignment.unique();
            lines.append("server.").append(i).append("=127.0.0.1:").append(PortAssignment.unique()).append(':')
                    .append(PortAssignment.unique()).append(i < participants ? ":participant" : ":observer")
                    .append(";127.0.0.1:").append(launched.clientPorts[i]).append('\n');
        }
        for (int i = 0; i < count; i++) {
            launched.mt[i] = new MainThread(i, launched.clientPorts[i], lines.toString(), otherConfigs,
                    tickTime == null ? 4000 : tickTime);
            System.setProperty("zookeeper.admin.serverPort", Integer.toString(launched.adminPorts[i]));
            launched.mt[i].start();
            launched.restartClient(i, this);
        }
        waitForAll(launched, ZooKeeper.States.CONNECTED);
        return launched;
    }

    public static void waitForOne(ZooKeeper client, ZooKeeper.States state) throws InterruptedException {
        waitForAll(new ZooKeeper[] {client}, state);
    }

    protected void waitForAll(Servers servers, ZooKeeper.States state) throws InterruptedException {
        waitForAll(servers.zk, state);
    }

    public static void waitForAll(ZooKeeper[] clients, ZooKeeper.States state) throws InterruptedException {
        long end = System.nanoTime() + ClientBase.CONNECTION_TIMEOUT * 1_000_000L;
        for (ZooKeeper client : clients) {
            while (client.getState() != state) {
                if (System.nanoTime() > end) {
                    logStates(clients);
                    throw new IllegalStateException("a client is " + client.getState() + ", not " + state);
                }
                Thread.sleep(50);
            }
        }
        ProcessPeer.refreshAll();
    }

    public static void logStates(ZooKeeper[] clients) {
        for (ZooKeeper client : clients) {
            LOG.error("client: {}", client.getState());
        }
    }
}
