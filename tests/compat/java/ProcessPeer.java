package org.apache.zookeeper.server.quorum;

import java.io.File;
import java.io.FileReader;
import java.io.IOException;
import java.io.Reader;
import java.io.StringReader;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.zookeeper.client.FourLetterWordMain;
import org.apache.zookeeper.server.quorum.flexible.QuorumVerifier;
import org.apache.zookeeper.test.ServerProcess;
import org.objenesis.ObjenesisStd;

/**
 * A QuorumPeer for tests whose server is another process. What tests read of it comes from that process: its role from the
 * four-letter word srvr, its view from conf, its own addresses from the files that it keeps.
 *
 * <p>Tests ask for the role by fields, as in {@code peer.leader != null}. A thread keeps these up to date, and the helpers of the
 * tests call {@link #refreshAll} where a test looks next. The objects in them are empty: a test that uses one fails. But an
 * observer says where it is connected to.
 */
public final class ProcessPeer extends QuorumPeer {
    private static final int ANSWER_MS_MAX = 5000;
    private static final int POLL_MS = 200;
    private static final Set<ProcessPeer> RUNNING = ConcurrentHashMap.newKeySet();
    private static final String ESTABLISHED = "01";
    private static Thread poller;

    private final File config;
    private final Leader aLeader = new ObjenesisStd().newInstance(Leader.class);
    private final Follower aFollower = new ObjenesisStd().newInstance(Follower.class);
    private final RemoteObserver anObserver = new ObjenesisStd().newInstance(RemoteObserver.class);
    private volatile ServerProcess process;
    private volatile String mode = "";

    /** An observer whose socket has a port, as the kernel knows it. */
    private static final class RemoteObserver extends Observer {
        private ProcessPeer peer;

        private RemoteObserver() {
            super(null, null);
        }

        @Override
        public Socket getSocket() {
            return new Socket() {
                @Override
                public int getPort() {
                    return peer.masterPort();
                }
            };
        }
    }

    /** The port of another server that the process is connected to as a learner. */
    private int masterPort() {
        try {
            Set<Integer> ports = new HashSet<>();
            for (QuorumServer server : verifier(membership()).getAllMembers().values()) {
                ports.addAll(server.addr.getAllPorts());
            }
            ports.add(Integer.parseInt(load(config).getProperty("observerMasterPort", "0")));
            Set<String> inodes = new HashSet<>();
            for (File descriptor : new File("/proc/" + process.pid() + "/fd").listFiles()) {
                try {
                    String target = Files.readSymbolicLink(descriptor.toPath()).toString();
                    if (target.startsWith("socket:[")) {
                        inodes.add(target.substring("socket:[".length(), target.length() - 1));
                    }
                } catch (IOException closed) {
                    continue;
                }
            }
            for (String table : new String[] {"tcp", "tcp6"}) {
                for (String line : Files.readAllLines(Path.of("/proc/net", table))) {
                    // Number, local address, the other one, state, four more, and the inode.
                    String[] fields = line.trim().split("\\s+");
                    if (fields[3].equals(ESTABLISHED) && inodes.contains(fields[9])) {
                        int port = Integer.parseInt(fields[2].substring(fields[2].lastIndexOf(':') + 1), 16);
                        if (ports.contains(port)) {
                            return port;
                        }
                    }
                }
            }
        } catch (IOException | QuorumPeerConfig.ConfigException error) {
            throw new IllegalStateException(error);
        }
        throw new IllegalStateException("the observer is connected to no server");
    }

    /** The server of a zoo.cfg, which has its dataDir and the server lines. */
    public ProcessPeer(long sid, File config) throws IOException {
        this.config = config;
        setMyid(sid);
        setConfigFileName(config.toString());
        anObserver.peer = this;
    }

    @Override
    public synchronized void start() {
        try {
            process = new ServerProcess(config.toPath(), ServerProcess.jvmFlags());
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        RUNNING.add(this);
        synchronized (ProcessPeer.class) {
            if (poller == null) {
                poller = new Thread(ProcessPeer::poll, "roles of servers");
                poller.setDaemon(true);
                poller.start();
            }
        }
    }

    private static void poll() {
        while (true) {
            refreshAll();
            try {
                Thread.sleep(POLL_MS);
            } catch (InterruptedException interrupted) {
                return;
            }
        }
    }

    /** Asks all servers for their roles. */
    public static void refreshAll() {
        RUNNING.forEach(ProcessPeer::refresh);
    }

    /** Asks the server for its role. */
    public ProcessPeer refresh() {
        String answer = isRunningProcess() ? word("srvr") : "";
        String found = "";
        for (String line : answer.split("\n")) {
            if (line.startsWith("Mode: ")) {
                found = line.substring("Mode: ".length()).trim();
            }
        }
        mode = found;
        leader = found.equals("leader") ? aLeader : null;
        follower = found.equals("follower") ? aFollower : null;
        observer = found.equals("observer") ? anObserver : null;
        return this;
    }

    /** The server's answer to a four-letter word; nothing if it gives none. */
    private String word(String word) {
        int port = getClientPort();
        if (port < 0) {
            return "";
        }
        try {
            return FourLetterWordMain.send4LetterWord("127.0.0.1", port, word, false, ANSWER_MS_MAX);
        } catch (Exception error) {
            return "";
        }
    }

    /** Whether the process runs. */
    public boolean isRunningProcess() {
        ServerProcess current = process;
        return current != null && current.isAlive();
    }

    /** Whether the server is a member of an ensemble, as far as it says. */
    public boolean isStandalone() {
        return refresh().mode.equals("standalone");
    }

    public void awaitEnd(long timeoutMs) throws InterruptedException {
        if (process != null) {
            process.join(timeoutMs);
        }
    }

    @Override
    public void shutdown() {
        RUNNING.remove(this);
        if (process != null) {
            try {
                process.stop();
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        }
        refresh();
    }

    @Override
    public synchronized ServerState getPeerState() {
        switch (refresh().mode) {
        case "leader":
            return ServerState.LEADING;
        case "follower":
            return ServerState.FOLLOWING;
        case "observer":
            return ServerState.OBSERVING;
        default:
            return ServerState.LOOKING;
        }
    }

    @Override
    public Election getElectionAlg() {
        return null;
    }

    @Override
    public void enableLocalSessions(boolean flag) {
        throw new UnsupportedOperationException("another process reads its settings when it starts");
    }

    @Override
    public void setSuspended(boolean suspended) {
        throw new UnsupportedOperationException("another process");
    }

    @Override
    public long getLastLoggedZxid() {
        for (String line : word("srvr").split("\n")) {
            if (line.startsWith("Zxid: 0x")) {
                return Long.parseUnsignedLong(line.substring("Zxid: 0x".length()).trim(), 16);
            }
        }
        throw new IllegalStateException("the server does not say its zxid");
    }

    /** The epoch of the last txn: a server does not tell the one that it has accepted. */
    @Override
    public long getAcceptedEpoch() {
        return getLastLoggedZxid() >>> 32;
    }

    @Override
    public long getCurrentEpoch() {
        return getAcceptedEpoch();
    }

    /** The members that the server knows; those of its files while it does not run. */
    @Override
    public QuorumVerifier getQuorumVerifier() {
        try {
            if (!isRunningProcess()) {
                return verifier(membership());
            }
            String told = word("conf");
            int at = told.indexOf("membership:");
            if (at < 0) {
                throw new IllegalStateException("the answer to conf has no members: " + told);
            }
            return configFromString(told.substring(at + "membership:".length()));
        } catch (IOException | QuorumPeerConfig.ConfigException error) {
            throw new IllegalStateException(error);
        }
    }

    @Override
    public QuorumVerifier configFromString(String text) throws IOException, QuorumPeerConfig.ConfigException {
        Properties properties = new Properties();
        properties.load(new StringReader(text));
        return verifier(properties);
    }

    private static QuorumVerifier verifier(Properties members) throws IOException, QuorumPeerConfig.ConfigException {
        return QuorumPeerConfig.parseDynamicConfig(members, 3, false, false, null);
    }

    /** What zoo.cfg and the file that it names say of members. A server replaces these files as one. */
    private Properties membership() throws IOException {
        IOException last = null;
        for (int i = 0; i < 50; i++) {
            try {
                Properties keys = load(config);
                Properties members = new Properties();
                keep(keys, members);
                String dynamic = keys.getProperty("dynamicConfigFile");
                if (dynamic != null) {
                    keep(load(new File(dynamic)), members);
                    String version = QuorumPeerConfig.getVersionFromFilename(dynamic);
                    if (version != null) {
                        members.setProperty("version", version);
                    }
                }
                return members;
            } catch (IOException error) {
                // The server has just replaced the file.
                last = error;
            }
        }
        throw last;
    }

    private static Properties load(File file) throws IOException {
        Properties keys = new Properties();
        try (Reader reader = new FileReader(file)) {
            keys.load(reader);
        }
        return keys;
    }

    private static void keep(Properties from, Properties to) {
        for (Map.Entry<Object, Object> entry : from.entrySet()) {
            if (entry.getKey().toString().matches("(server|group|weight)\\..*|version")) {
                to.put(entry.getKey(), entry.getValue());
            }
        }
    }

    private QuorumServer self() {
        try {
            String line = membership().getProperty("server." + getMyId());
            return line == null ? null : new QuorumServer(getMyId(), line);
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    @Override
    public int getClientPort() {
        QuorumServer self = self();
        if (self != null && self.clientAddr != null) {
            return self.clientAddr.getPort();
        }
        try {
            return Integer.parseInt(load(config).getProperty("clientPort", "-1"));
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    @Override
    public InetSocketAddress getClientAddress() {
        return new InetSocketAddress("127.0.0.1", getClientPort());
    }

    @Override
    public MultipleAddresses getQuorumAddress() {
        return self().addr;
    }

    @Override
    public MultipleAddresses getElectionAddress() {
        return self().electionAddr;
    }

    @Override
    public LearnerType getLearnerType() {
        return self().type;
    }
}
