package crossmargin.peers;

import crossmargin.peers.Account.Breach;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Books the fills of one task's accounts and values them. The stores are the truth; beside them the task keeps its
 * accounts and prices as objects, read from the restored stores when it starts, so that neither a fill nor the valuing
 * of all accounts at a price has to read and parse from RocksDB.
 */
final class MarginProcessor implements Processor<String, Event, String, Breach> {
    static final String ACCOUNTS = "accounts";
    static final String PRICES = "prices";

    private final Map<String, Account> accounts = new HashMap<>();
    private final Map<String, Double> prices = new HashMap<>();
    private ProcessorContext<String, Breach> context;
    private KeyValueStore<String, Account> accountStore;
    private KeyValueStore<String, Double> priceStore;

    @Override
    public void init(ProcessorContext<String, Breach> context) {
        this.context = context;
        accountStore = context.getStateStore(ACCOUNTS);
        priceStore = context.getStateStore(PRICES);
        try (var stored = accountStore.all()) {
            stored.forEachRemaining(entry -> accounts.put(entry.key, entry.value));
        }
        try (var stored = priceStore.all()) {
            stored.forEachRemaining(entry -> prices.put(entry.key, entry.value));
        }
    }

    @Override
    public void process(Record<String, Event> record) {
        if (record.value() instanceof Event.Fill fill) {
            onFill(fill, record.timestamp());
        } else if (record.value() instanceof Event.Price price) {
            onPrice(price, record.timestamp());
        }
    }

    private void onFill(Event.Fill fill, long time) {
        var account = accounts.computeIfAbsent(fill.account(), name -> new Account());
        account.book(fill);
        var breach = account.breach(fill.account(), prices);
        accountStore.put(fill.account(), account);
        emit(breach, time);
    }

    private void onPrice(Event.Price price, long time) {
        prices.put(price.symbol(), price.price());
        priceStore.put(price.symbol(), price.price());
        accounts.forEach(
                (name, account) -> {
                    if (account.holds(price.symbol())) {
                        var breach = account.breach(name, prices);
                        if (breach != null) {
                            accountStore.put(name, account);
                        }
                        emit(breach, time);
                    }
                });
    }

    private void emit(Breach breach, long time) {
        if (breach != null) {
            context.forward(new Record<>(breach.account(), breach, time));
        }
    }
}
