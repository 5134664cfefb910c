package org.apache.zookeeper.test;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;
import java.util.function.Predicate;
import org.apache.zookeeper.PortAssignment;
import org.apache.zookeeper.TestableZooKeeper;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZKTestCase;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.client.FourLetterWordMain;
import org.apache.zookeeper.client.ZKClientConfig;
import org.apache.zookeeper.server.ServerCnxnFactory;
import org.apache.zookeeper.server.quorum.ProcessPeer;
import org.apache.zookeeper.server.quorum.QuorumPeer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Stands in for the class of this name among ZooKeeper's tests, which starts a server within the tests' own process: this one
 * starts the program that the property zkfast.command names, with the system properties of the test as lines of
 * its zoo.cfg.
 * It has what the tests of authentication need, and the tests of ensembles, which start servers by classes of their own.
 */
public abstract class ClientBase extends ZKTestCase {
    protected static final Logger LOG = LoggerFactory.getLogger(ClientBase.class);
    public static int CONNECTION_TIMEOUT = 30000;

    protected String hostPort = "127.0.0.1:" + PortAssignment.unique();
    protected ServerCnxnFactory serverFactory = null;
    protected File tmpDir = null;

    private final List<TestableZooKeeper> clients = new ArrayList<>();
    private ServerProcess server;

    public ClientBase() {
    }

    protected TestableZooKeeper createClient() throws IOException, InterruptedException {
        return createClient(hostPort);
    }

    protected TestableZooKeeper createClient(String address) throws IOException, InterruptedException {
        return createClient(new CountdownWatcher(), address);
    }

    protected TestableZooKeeper createClient(CountdownWatcher watcher) throws IOException, InterruptedException {
        return createClient(watcher, hostPort);
    }

    protected TestableZooKeeper createClient(CountdownWatcher watcher, String address)
            throws IOException, InterruptedException {
        return createClient(watcher, address, CONNECTION_TIMEOUT);
    }

    protected TestableZooKeeper createClient(CountdownWatcher watcher, String address, int timeout)
            throws IOException, InterruptedException {
        watcher.reset();
        TestableZooKeeper client = new TestableZooKeeper(address, timeout, watcher);
        synchronized (clients) {
            clients.add(client);
        }
        // Not waitForConnected: an event of SASL may follow at once, whose state is another one.
        if (!watcher.clientConnected.await(CONNECTION_TIMEOUT, TimeUnit.MILLISECONDS)) {
            LOG.warn("no connection to {}: the test finds out", address);
        }
        return client;
    }

    protected TestableZooKeeper createClient(String address, int timeout) throws IOException, InterruptedException {
        return createClient(new CountdownWatcher(), address, timeout);
    }

    /** A client that is connected. */
    public static ZooKeeper createZKClient(String address) throws Exception {
        return createZKClient(address, CONNECTION_TIMEOUT);
    }

    public static ZooKeeper createZKClient(String address, int timeout) throws IOException {
        return createZKClient(address, timeout, CONNECTION_TIMEOUT);
    }

    public static ZooKeeper createZKClient(String address, int timeout, long connectionTimeout) throws IOException {
        return createZKClient(address, timeout, connectionTimeout, new ZKClientConfig());
    }

    public static ZooKeeper createZKClient(String address, int timeout, long connectionTimeout, ZKClientConfig config)
            throws IOException {
        CountdownWatcher watcher = new CountdownWatcher();
        ZooKeeper client = new ZooKeeper(address, timeout, watcher, config);
        try {
            watcher.waitForConnected(connectionTimeout);
        } catch (InterruptedException | TimeoutException error) {
            fail("no connection to " + address);
        }
        return client;
    }

    /** Counts events of a connection. */
    public static class CountdownWatcher implements Watcher {
        volatile CountDownLatch clientConnected = new CountDownLatch(1);
        volatile boolean connected;
        volatile boolean syncConnected;
        volatile boolean readOnlyConnected;

        public CountdownWatcher() {
        }

        public synchronized void reset() {
            connected = false;
            syncConnected = false;
            readOnlyConnected = false;
            clientConnected = new CountDownLatch(1);
        }

        @Override
        public synchronized void process(WatchedEvent event) {
            LOG.debug("{}", event);
            if (event.getState() == KeeperState.SaslAuthenticated) {
                // It comes on a connection that goes on.
                return;
            }
            syncConnected = event.getState() == KeeperState.SyncConnected;
            readOnlyConnected = event.getState() == KeeperState.ConnectedReadOnly;
            connected = syncConnected || readOnlyConnected;
            if (connected) {
                clientConnected.countDown();
            }
            notifyAll();
        }

        public synchronized boolean isConnected() {
            return connected;
        }

        public synchronized void waitForConnected(long timeout) throws InterruptedException, TimeoutException {
            await(() -> connected, timeout);
        }

        public synchronized void waitForSyncConnected(long timeout) throws InterruptedException, TimeoutException {
            await(() -> syncConnected, timeout);
        }

        public synchronized void waitForReadOnlyConnected(long timeout) throws InterruptedException, TimeoutException {
            await(() -> readOnlyConnected, timeout);
        }

        public synchronized void waitForDisconnected(long timeout) throws InterruptedException, TimeoutException {
            await(() -> !connected, timeout);
        }

        private void await(BooleanSupplier wanted, long timeout) throws InterruptedException, TimeoutException {
            long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeout);
            while (!wanted.getAsBoolean()) {
                long left = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
                if (left <= 0) {
                    throw new TimeoutException("connected is " + connected + ", for reads only " + readOnlyConnected);
                }
                wait(left);
            }
        }
    }

    /** Nothing is to be set: the files of zkfast need no time to be allocated. */
    public static void setupTestEnv() {
    }

    /** Tests that have a server of another kind call it in place of setUp. */
    protected void setUpAll() throws Exception {
    }

    /** Closes the clients. */
    protected void tearDownAll() throws Exception {
        synchronized (clients) {
            for (TestableZooKeeper client : clients) {
                client.close();
            }
            clients.clear();
        }
    }

    /** Whether a server serves within the time, and not for reads only; the first one of a list. */
    public static boolean waitForServerUp(String address, long timeout) {
        boolean isUp = waitForAnswer(address, timeout,
                answer -> answer != null && answer.startsWith("Zookeeper version:") && !answer.contains("READ-ONLY"));
        ProcessPeer.refreshAll();
        ServerProcess.settle();
        return isUp;
    }

    /** Whether a server has gone within the time: connections to its port fail. */
    public static boolean waitForServerDown(String address, long timeout) {
        boolean isDown = waitForAnswer(address, timeout, answer -> answer == null);
        ProcessPeer.refreshAll();
        return isDown;
    }

    /** Whether the answer to stat is as wanted within the time; null is none. */
    private static boolean waitForAnswer(String address, long timeout, Predicate<String> wanted) {
        HostPort server = parseHostPortList(address).get(0);
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeout);
        while (true) {
            String answer = null;
            try {
                answer = FourLetterWordMain.send4LetterWord(server.host, server.port, "stat");
            } catch (IOException none) {
                LOG.debug("no answer of {}", address);
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
            if (wanted.test(answer)) {
                return true;
            }
            if (System.nanoTime() > end) {
                return false;
            }
            try {
                Thread.sleep(50);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
                return false;
            }
        }
    }

    public static boolean waitForServerState(QuorumPeer peer, int timeout, String... states) {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeout);
        while (!Arrays.asList(states).contains(peer.getServerState())) {
            if (System.nanoTime() > end) {
                return false;
            }
            try {
                Thread.sleep(50);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
                return false;
            }
        }
        return true;
    }

    /** All servers of a list have as many znodes below the root, if need be after a while. */
    void verifyRootOfAllServersMatch(String list) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        while (true) {
            Set<Integer> counts = new HashSet<>();
            for (String address : list.split(",")) {
                try (ZooKeeper client = createClient(address)) {
                    counts.add(client.getChildren("/", false).size());
                }
            }
            if (counts.size() == 1) {
                return;
            }
            assertTrue(System.nanoTime() < end, "servers have different numbers of znodes: " + counts);
        }
    }

    static void verifyThreadTerminated(Thread thread, long millis) throws InterruptedException {
        thread.join(millis);
        assertFalse(thread.isAlive(), thread.getName() + " still runs");
    }

    public static class HostPort {
        String host;
        int port;

        public HostPort(String host, int port) {
            this.host = host;
            this.port = port;
        }
    }

    public static List<HostPort> parseHostPortList(String list) {
        List<HostPort> all = new ArrayList<>();
        for (String address : list.split(",")) {
            int colon = address.lastIndexOf(':');
            // A chroot may follow.
            String port = address.substring(colon + 1).split("/")[0];
            all.add(new HostPort(address.substring(0, colon), Integer.parseInt(port)));
        }
        return all;
    }

    protected static String getHexSessionId(long session) {
        return "0x" + Long.toHexString(session);
    }

    public static boolean recursiveDelete(File folder) {
        return TestUtils.deleteFileRecursively(folder, true);
    }

    /** A file that tells ZooKeeper that its empty data is meant to be so. */
    public static void createInitializeFile(File folder) throws IOException {
        File file = new File(folder, "initialize");
        assertTrue(file.exists() || file.createNewFile());
    }

    /** A new folder. */
    public static File createTmpDir() throws IOException {
        return Files.createTempDirectory(Path.of(System.getProperty("zkfast.folder")), "test").toFile();
    }

    @BeforeEach
    public void setUp() throws Exception {
        if (tmpDir == null) {
            tmpDir = createTmpDir();
        }
        setupCustomizedEnv();
        startServer();
    }

    /** Tests set properties of their server here. */
    public void setupCustomizedEnv() {
    }

    public void cleanUpCustomizedEnv() {
    }

    protected void startServer() throws Exception {
        Map<String, String> keys = new TreeMap<>();
        for (String name : System.getProperties().stringPropertyNames()) {
            if (name.startsWith("zookeeper.") || name.equals("java.security.auth.login.config")) {
                keys.put(name.replaceFirst("^zookeeper\\.", ""), System.getProperty(name));
            }
        }
        StringBuilder text = new StringBuilder("dataDir=" + tmpDir + "/data\nclientPort=" + parseHostPortList(hostPort).get(0).port
                + "\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\ntickTime=3000\nmaxClientCnxns=0\n");
        keys.forEach((name, value) -> text.append(name).append('=').append(value).append('\n'));
        Path config = tmpDir.toPath().resolve("zoo.cfg");
        Files.writeString(config, text);
        server = new ServerProcess(config, "");
        // Not a connection alone: the kernel takes some for a moment after a server with io_uring has ended.
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!waitForServerUp(hostPort, 0)) {
            if (!server.isAlive() || System.nanoTime() > end) {
                throw new IllegalStateException("the server does not serve: " + server.log());
            }
            Thread.sleep(20);
        }
    }

    protected void stopServer() throws Exception {
        if (!server.isAlive()) {
            throw new IllegalStateException("the server ended by itself");
        }
        server.stop();
        server = null;
    }

    @AfterEach
    public void tearDown() throws Exception {
        tearDownAll();
        if (server != null) {
            stopServer();
        }
        cleanUpCustomizedEnv();
    }
}
