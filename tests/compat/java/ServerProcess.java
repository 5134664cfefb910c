package org.apache.zookeeper.test;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

/**
 * A server under test: the program that the property zkfast.command names, on one zoo.cfg. What it prints is in the file log
 * beside the zoo.cfg. Its process id is a line of the file pids in the folder of the property zkfast.folder, so that a
 * program that kills this JVM can kill the servers as well.
 */
public final class ServerProcess {
    private static final int STOP_SECONDS_MAX = 60;
    /**
     * ClientCnxnSocketNIO.cleanup sleeps 100 ms after a connection that failed, and requests of these 100 ms fail with it. Servers
     * that start within less would have that happen to tests whose clients were there before them.
     */
    private static final int SETTLE_MS = 150;
    /** So long after the start of a server, no connection fails any more for the lack of it. */
    private static final int START_MS = 2000;
    private static volatile long startedNanos = System.nanoTime() - TimeUnit.MILLISECONDS.toNanos(START_MS);

    private final Process process;
    private final Path log;

    public ServerProcess(Path config, String jvmFlags) throws IOException {
        log = config.resolveSibling("log");
        ProcessBuilder builder = new ProcessBuilder(System.getProperty("zkfast.command"), config.toString());
        builder.environment().put("JVMFLAGS", jvmFlags);
        builder.redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile()));
        process = builder.start();
        startedNanos = System.nanoTime();
        Runtime.getRuntime().addShutdownHook(new Thread(process::destroyForcibly));
        synchronized (ServerProcess.class) {
            Files.writeString(Path.of(System.getProperty("zkfast.folder"), "pids"), process.pid() + "\n",
                    StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        }
    }

    /** Waits until clients have got over connections that failed before a server served, if that has begun just now. */
    static void settle() {
        if (System.nanoTime() - startedNanos > TimeUnit.MILLISECONDS.toNanos(START_MS)) {
            return;
        }
        try {
            Thread.sleep(SETTLE_MS);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /**
     * JVM flags for the system properties that tests have set for their server. The tests' own process is a client as well: its
     * classes for sockets concern no server of another process.
     */
    public static String jvmFlags() {
        StringBuilder flags = new StringBuilder();
        TreeMap<String, String> properties = new TreeMap<>();
        for (String name : System.getProperties().stringPropertyNames()) {
            properties.put(name, System.getProperty(name));
        }
        properties.forEach((name, value) -> {
            boolean isServers = name.startsWith("zookeeper.") && !name.endsWith("CnxnSocket") && !name.endsWith("CnxnFactory");
            if (isServers || name.equals("readonlymode.enabled") || name.equals("jute.maxbuffer")) {
                if (value.chars().anyMatch(Character::isWhitespace)) {
                    throw new IllegalArgumentException(name + " has a blank, which JVMFLAGS cannot hold: " + value);
                }
                flags.append("-D").append(name).append('=').append(value).append(' ');
            }
        });
        return flags.toString();
    }

    public boolean isAlive() {
        return process.isAlive();
    }

    public void join(long timeoutMs) throws InterruptedException {
        process.waitFor(timeoutMs, TimeUnit.MILLISECONDS);
    }

    public long pid() {
        return process.pid();
    }

    public String log() throws IOException {
        return Files.readString(log);
    }

    /** Ends the server. One that has ended by itself is as good: tests say by other means whether it may. */
    public void stop() throws InterruptedException {
        if (!process.isAlive()) {
            return;
        }
        process.destroy();
        if (!process.waitFor(STOP_SECONDS_MAX, TimeUnit.SECONDS)) {
            process.destroyForcibly();
            throw new IllegalStateException("the server still runs " + STOP_SECONDS_MAX + " s after TERM; log: " + log);
        }
        int expected = Integer.getInteger("zkfast.status", 0);
        if (process.exitValue() != expected) {
            throw new IllegalStateException("the server ended with " + process.exitValue() + " after TERM; log: " + log);
        }
    }
}
