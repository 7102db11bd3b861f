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
