package crossmargin.peers;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;

/** What a task reads: the fills of its accounts, and every price. */
sealed interface Event {

    /** A trade fill; the quantity is positive where it buys, the fee positive where it is paid. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    record Fill(
            @JsonProperty(required = true) String account,
            @JsonProperty(required = true) String instrument,
            @JsonProperty(required = true) double quantity,
            @JsonProperty(required = true) double price,
            @JsonProperty(required = true) double fee)
            implements Event {
        public Fill {
            requireFinite("quantity", quantity);
            requireFinite("price", price);
            requireFinite("fee", fee);
        }
    }

    /** A quote of a symbol. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    record Price(@JsonProperty(required = true) String symbol, @JsonProperty(required = true) double price)
            implements Event {
        public Price {
            requireFinite("price", price);
            if (price <= 0) {
                throw new IllegalArgumentException("price must be > 0, found " + price);
            }
        }
    }

    private static void requireFinite(String name, double value) {
        if (!Double.isFinite(value)) {
            throw new IllegalArgumentException(name + " must be finite, found " + value);
        }
    }
}
