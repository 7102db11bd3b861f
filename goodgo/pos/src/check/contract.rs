//! What the checker knows of the saga contracts: the names of their steps, in the order of the text, which is how the
//! journal numbers them.

pub(super) const PLACE_ORDER: &str = "place_order";
pub(super) const RETURN_ORDER: &str = "return_order";

pub(super) const PROCESS_PAYMENT: &str = "process_payment";
pub(super) const RESERVE_INVENTORY: &str = "reserve_inventory";
pub(super) const COMMIT_STOCK: &str = "commit_stock";
pub(super) const REFUND_PAYMENT: &str = "refund_payment";
pub(super) const RESTOCK: &str = "restock";

const OF_PLACE_ORDER: [&str; 5] = ["create_order", PROCESS_PAYMENT, RESERVE_INVENTORY, COMMIT_STOCK, "confirm_order"];
const OF_RETURN_ORDER: [&str; 4] = ["create_return", REFUND_PAYMENT, RESTOCK, "confirm_return"];

/// Every event of the platform is published on the topic that is named by its type.
const TOPICS: [&str; 22] = [
    "account.adjusted.v1",
    "order.cancelled.v1",
    "order.confirmed.v1",
    "order.created.v1",
    "order.return_claimed.v1",
    "order.return_released.v1",
    "payment.captured.v1",
    "payment.refunded.v1",
    "product.changed.v1",
    "product.listed.v1",
    "return.cancelled.v1",
    "return.confirmed.v1",
    "return.recorded.v1",
    "saga.compensated.v1",
    "saga.completed.v1",
    "saga.failed.v1",
    "stock.adjusted.v1",
    "stock.committed.v1",
    "stock.opened.v1",
    "stock.released.v1",
    "stock.reserved.v1",
    "stock.returned.v1",
];

/// The topics of the platform's events. One that is missing here shows: its events are then committed and not in the log.
pub fn topics() -> Vec<String> {
    TOPICS.map(str::to_owned).to_vec()
}

/// The name of a step.
pub(super) fn step(definition: &str, index: usize) -> String {
    let steps: &[&str] = match definition {
        PLACE_ORDER => &OF_PLACE_ORDER,
        RETURN_ORDER => &OF_RETURN_ORDER,
        _ => &[],
    };
    steps.get(index).map_or_else(|| format!("step {index}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys one level below `steps:`.
    fn names(yaml: &str) -> Vec<&str> {
        let steps = yaml.lines().skip_while(|line| *line != "steps:").skip(1);
        let keys = steps.filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
        keys.filter(|key| !key.starts_with(' ')).collect()
    }

    #[test]
    fn the_steps_are_those_of_the_contracts() {
        assert_eq!(names(include_str!("../../../contracts/place_order.saga.yaml")), OF_PLACE_ORDER);
        assert_eq!(names(include_str!("../../../contracts/return_order.saga.yaml")), OF_RETURN_ORDER);
        assert_eq!((step(PLACE_ORDER, 2).as_str(), step("other", 2).as_str()), (RESERVE_INVENTORY, "step 2"));
    }
}
