import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URLEncoder;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.client.ZKClientConfig;
import org.apache.zookeeper.data.ClientInfo;

/**
 * ZooKeeper's own client over TLS, for tls.py. Reads lines `host:port TAB seconds TAB key=value TAB ...`, and prints a line for
 * each: `ok` with what the server says that the client is, as in a URL, or `none` where no session began within so many seconds.
 */
public class TlsClient {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        for (String line; (line = lines.readLine()) != null; ) {
            System.out.println(ask(line.split("\t")));
            System.out.flush();
        }
        System.exit(0);
    }

    private static String ask(String[] words) throws Exception {
        ZKClientConfig config = new ZKClientConfig();
        config.setProperty("zookeeper.clientCnxnSocket", "org.apache.zookeeper.ClientCnxnSocketNetty");
        config.setProperty("zookeeper.client.secure", "true");
        for (int at = 2; at < words.length; at++) {
            String[] pair = words[at].split("=", 2);
            config.setProperty(pair[0], pair[1]);
        }
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper client = new ZooKeeper(words[0], 30000, event -> {
            if (event.getState() == KeeperState.SyncConnected) {
                connected.countDown();
            }
        }, config);
        try {
            if (!connected.await(Long.parseLong(words[1]), TimeUnit.SECONDS)) {
                return "none";
            }
            String path = client.create("/java-", new byte[0], ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL);
            client.getData(path, false, null);
            List<String> ids = new ArrayList<>();
            for (ClientInfo info : client.whoAmI()) {
                ids.add(URLEncoder.encode(info.getAuthScheme() + ":" + info.getUser(), "UTF-8"));
            }
            return "ok\t" + String.join("\t", ids);
        } finally {
            client.close();
        }
    }
}
