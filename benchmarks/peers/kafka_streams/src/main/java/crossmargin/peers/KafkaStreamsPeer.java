package crossmargin.peers;

import crossmargin.peers.Account.Breach;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.LogAndContinueExceptionHandler;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The peers' job in Kafka Streams: Processor API, RocksDB stores with changelog topics, exactly_once_v2, one thread.
 * Runs until SIGTERM. The topics of fills and prices are co-partitioned, so one task has both of a partition.
 *
 * <p>Killed three times with -9 under load: state right, no breach twice, up to date again 27 to 57 s after each kill
 * (the dead member's session is 45 s).
 */
public final class KafkaStreamsPeer {
    /** Quix Streams' default too. Of 100 (the default with exactly-once), 1000 and 5000 the fastest. */
    private static final int COMMIT_MS = 5000;

    private KafkaStreamsPeer() {}

    public static void main(String[] args) throws InterruptedException {
        var options = new HashMap<String, String>();
        for (int at = 0; at + 1 < args.length; at += 2) {
            options.put(args[at], args[at + 1]);
        }
        var prefix = options.get("--prefix");
        var streams = new KafkaStreams(topology(prefix), settings(prefix, options));
        var over = new CountDownLatch(1);
        streams.setStateListener(
                (now, before) -> {
                    if (now == KafkaStreams.State.ERROR || now == KafkaStreams.State.NOT_RUNNING) {
                        over.countDown();
                    }
                });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
        streams.start();
        over.await();
        if (streams.state() == KafkaStreams.State.ERROR) {
            System.exit(1);
        }
    }

    private static Topology topology(String prefix) {
        var string = Serdes.String();
        return new Topology()
                .addSource("fills", string.deserializer(), new JsonSerde<>(Event.Fill.class).deserializer(), prefix + ".fills")
                .addSource("prices", string.deserializer(), new JsonSerde<>(Event.Price.class).deserializer(), prefix + ".prices")
                .addProcessor("margin", MarginProcessor::new, "fills", "prices")
                .addStateStore(store(MarginProcessor.ACCOUNTS, new JsonSerde<>(Account.class)), "margin")
                .addStateStore(store(MarginProcessor.PRICES, Serdes.Double()), "margin")
                .addSink("breaches", prefix + ".breaches", string.serializer(), new JsonSerde<>(Breach.class).serializer(), "margin");
    }

    /** RocksDB with a changelog topic; the cache joins the writes of a key between two commits. */
    private static <T> StoreBuilder<KeyValueStore<String, T>> store(
            String name, Serde<T> serde) {
        return Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), Serdes.String(), serde)
                .withCachingEnabled()
                .withLoggingEnabled(Map.of());
    }

    private static String defaultStateDir(String prefix, Map<String, String> options) {
        var port = options.get("--broker").replaceAll(".*:", "");
        return Path.of(System.getProperty("java.io.tmpdir"), "crossmargin-peers", "kafka-streams-" + prefix + "-" + port)
                .toString();
    }

    private static Properties settings(String prefix, Map<String, String> options) {
        var settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, prefix + "-kafka-streams");
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("--broker"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, options.getOrDefault("--state-dir", defaultStateDir(prefix, options)));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, COMMIT_MS);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
        settings.put(StreamsConfig.DESERIALIZATION_EXCEPTION_HANDLER_CLASS_CONFIG, LogAndContinueExceptionHandler.class);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        return settings;
    }
}
