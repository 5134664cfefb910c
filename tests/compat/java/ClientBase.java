package org.apache.zookeeper.test;

import java.io.File;
import java.io.IOException;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.zookeeper.PortAssignment;
import org.apache.zookeeper.TestableZooKeeper;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZKTestCase;
import org.apache.zookeeper.server.ServerCnxnFactory;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Stands in for the class of this name among ZooKeeper's tests, which starts a server within the tests' own process: this one
 * starts the program that the property zkfast.command names, with the system properties of the test as lines of
 * its zoo.cfg.
 * It has what the tests of authentication need.
 */
public abstract class ClientBase extends ZKTestCase {
    protected static final Logger LOG = LoggerFactory.getLogger(ClientBase.class);
    public static int CONNECTION_TIMEOUT = 30000;

    protected String hostPort = "127.0.0.1:" + PortAssignment.unique();
    protected ServerCnxnFactory serverFactory = null;
    protected File tmpDir = null;

    private final List<TestableZooKeeper> clients = new ArrayList<>();
    private Process server;

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

    /** Counts events of a connection. */
    public static class CountdownWatcher implements Watcher {
        volatile CountDownLatch clientConnected = new CountDownLatch(1);
        private boolean connected;

        public CountdownWatcher() {
        }

        public synchronized void reset() {
            connected = false;
            clientConnected = new CountDownLatch(1);
        }

        @Override
        public synchronized void process(WatchedEvent event) {
            LOG.debug("{}", event);
            connected = event.getState() == KeeperState.SyncConnected;
            if (connected) {
                clientConnected.countDown();
            }
            notifyAll();
        }

        public synchronized boolean isConnected() {
            return connected;
        }

        public synchronized void waitForConnected(long timeout)
                throws InterruptedException, TimeoutException {
            await(true, timeout);
        }

        public synchronized void waitForDisconnected(long timeout)
                throws InterruptedException, TimeoutException {
            await(false, timeout);
        }

        private void await(boolean wanted, long timeout)
                throws InterruptedException, TimeoutException {
            long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeout);
            while (connected != wanted) {
                long left = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
                if (left <= 0) {
                    throw new TimeoutException("connected is " + connected);
                }
                wait(left);
            }
        }
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
        startServer();
    }

    protected void startServer() throws Exception {
        Map<String, String> keys = new TreeMap<>();
        for (String name : System.getProperties().stringPropertyNames()) {
            if (name.startsWith("zookeeper.") || name.equals("java.security.auth.login.config")) {
                keys.put(name.replaceFirst("^zookeeper\\.", ""), System.getProperty(name));
            }
        }
        String[] address = hostPort.split(":");
        StringBuilder text = new StringBuilder("dataDir=" + tmpDir + "/data\nclientPort=" + address[1]
                + "\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\ntickTime=3000\nmaxClientCnxns=0\n");
        keys.forEach((name, value) -> text.append(name).append('=').append(value).append('\n'));
        Path config = tmpDir.toPath().resolve("zoo.cfg");
        Files.writeString(config, text);
        ProcessBuilder builder = new ProcessBuilder(System.getProperty("zkfast.command"), config.toString());
        builder.redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(new File(tmpDir, "log")));
        server = builder.start();
        Runtime.getRuntime().addShutdownHook(new Thread(server::destroyForcibly));
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (true) {
            try (Socket socket = new Socket(address[0], Integer.parseInt(address[1]))) {
                return;
            } catch (IOException error) {
                if (!server.isAlive() || System.nanoTime() > end) {
                    throw new IllegalStateException("the server does not serve: " + Files.readString(tmpDir.toPath().resolve("log")));
                }
                Thread.sleep(20);
            }
        }
    }

    protected void stopServer() throws Exception {
        server.destroy();
        if (!server.waitFor(60, TimeUnit.SECONDS)) {
            server.destroyForcibly();
            throw new IllegalStateException("the server does not end");
        }
        if (server.exitValue() != 0) {
            throw new IllegalStateException("the server ended with " + server.exitValue());
        }
    }

    @AfterEach
    public void tearDown() throws Exception {
        synchronized (clients) {
            for (TestableZooKeeper client : clients) {
                client.close();
            }
            clients.clear();
        }
        if (server != null) {
            stopServer();
        }
    }
}
