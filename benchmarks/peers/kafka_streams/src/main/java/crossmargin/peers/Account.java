package crossmargin.peers;

import com.fasterxml.jackson.annotation.JsonAutoDetect;
import java.util.HashMap;
import java.util.Map;

/** Cash and positions of one account, as the state store keeps them. */
@JsonAutoDetect(fieldVisibility = JsonAutoDetect.Visibility.ANY)
final class Account {
    private static final double MAINTENANCE_RATE = 0.05;

    private double cash = 100_000;
    private final Map<String, Position> positions = new HashMap<>();
    private boolean breached;

    /** quantity is negative where short; cost = sum of quantity x price. */
    record Position(double quantity, double cost) {
        Position plus(Position other) {
            return new Position(quantity + other.quantity, cost + other.cost);
        }
    }

    /** What is emitted, once an account. */
    record Breach(String account, double equity, double maintenance_margin) {}

    void book(Event.Fill fill) {
        var bought = new Position(fill.quantity(), fill.quantity() * fill.price());
        positions.merge(fill.instrument(), bought, Position::plus);
        cash -= fill.fee();
    }

    boolean holds(String symbol) {
        for (var instrument : positions.keySet()) {
            if (symbolOf(instrument).equals(symbol)) {
                return true;
            }
        }
        return false;
    }

    /**
     * Values the account; its numbers when it is below its maintenance for the first time, else null. equity = cash +
     * sum(quantity x price - cost), maintenance = 5% of sum(|quantity| x price); null too while a price is missing.
     */
    Breach breach(String name, Map<String, Double> prices) {
        double equity = cash;
        double notional = 0;
        for (var entry : positions.entrySet()) {
            Double price = prices.get(symbolOf(entry.getKey()));
            if (price == null) {
                return null;
            }
            double value = entry.getValue().quantity() * price;
            equity += value - entry.getValue().cost();
            notional += Math.abs(value);
        }
        double maintenance = MAINTENANCE_RATE * notional;
        if (breached || equity >= maintenance) {
            return null;
        }
        breached = true;
        return new Breach(name, equity, maintenance);
    }

    /** What an instrument is priced by: BTC for BTC-PERP. */
    private static String symbolOf(String instrument) {
        return instrument.endsWith("-PERP") ? instrument.substring(0, instrument.length() - 5) : instrument;
    }
}
