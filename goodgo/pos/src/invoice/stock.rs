//! The catalog, and how much of each product is in stock when the replay begins.

use std::collections::BTreeMap;

use super::model::{Invoice, Kind, Milli};
use super::plan::{Settings, Step};

/// Of a hundred products, so many are opened short.
const SCARCE_PERCENT: u64 = 5;

/// Codes of what is sold or booked without leaving a shelf: postage, carriage, discounts, manual corrections, fees,
/// samples, donations, bad debt.
const NO_STOCK: [&str; 10] = ["POST", "DOT", "C2", "D", "M", "BANK CHARGES", "AMAZONFEE", "S", "CRUK", "B"];

/// Whether a product lies on a shelf. Postage, fees, corrections and gift vouchers do not.
pub fn moves_stock(sku: &str) -> bool {
    !NO_STOCK.contains(&sku) && !sku.starts_with("GIFT_")
}

/// A product of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its code.
    pub sku: String,
    /// The last description that an order gave it; its code where none did.
    pub description: String,
    /// Its last price above 0.
    pub unit_price: Milli,
    /// Whether it lies on a shelf.
    pub stocked: bool,
    /// How much of it all orders of the plan ask for.
    pub demand: i64,
    /// How much is there at first; 0 for what does not lie on a shelf.
    pub opening_stock: i64,
    /// Whether it was opened short, to run out.
    pub scarce: bool,
}

/// The catalog of a plan, by code.
///
/// Opening stock: a seeded 5 % of the products are opened with nine tenths of what all orders ask for (rounded up, but at
/// least one less than asked), the others with eleven tenths (rounded up). What the plan's write-offs take comes on top,
/// so that those find what they write off.
pub(super) fn catalog(invoices: &[&Invoice], steps: &[Step], settings: &Settings) -> Vec<Product> {
    let mut products: BTreeMap<&str, Product> = BTreeMap::new();
    for invoice in invoices.iter().filter(|invoice| invoice.kind != Kind::Account) {
        for item in &invoice.items {
            let product = products.entry(&item.sku).or_insert_with(|| Product::new(&item.sku));
            let sold = invoice.kind == Kind::Plain && item.quantity > 0;
            if sold && !item.description.is_empty() {
                product.description.clone_from(&item.description);
            }
            if item.unit_price > Milli(0) && (sold || product.unit_price == Milli(0)) {
                product.unit_price = item.unit_price;
            }
        }
    }
    let mut written_off: BTreeMap<&str, i64> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Place(order) => {
                for line in order.lines.iter().filter(|line| line.stocked) {
                    if let Some(product) = products.get_mut(line.sku.as_str()) {
                        product.demand += line.quantity;
                    }
                }
            }
            Step::WriteOff(adjustment) => {
                for (sku, quantity) in &adjustment.takes {
                    *written_off.entry(sku).or_default() += quantity;
                }
            }
            Step::Return(_) | Step::Account(_) => {}
        }
    }
    for product in products.values_mut().filter(|product| product.stocked) {
        product.scarce = product.demand > 0 && draw(settings.seed, &product.sku) % 100 < SCARCE_PERCENT;
        let opening =
            if product.scarce { tenths(product.demand, 9).min(product.demand - 1) } else { tenths(product.demand, 11) };
        product.opening_stock = opening + written_off.get(product.sku.as_str()).copied().unwrap_or(0);
    }
    products.into_values().collect()
}

impl Product {
    fn new(sku: &str) -> Self {
        Self {
            sku: sku.to_owned(),
            description: sku.to_owned(),
            unit_price: Milli(0),
            stocked: moves_stock(sku),
            demand: 0,
            opening_stock: 0,
            scarce: false,
        }
    }
}

/// So many tenths, rounded up.
const fn tenths(amount: i64, tenths: i64) -> i64 {
    (amount * tenths + 9) / 10
}

/// A number that seed and product decide, alike on every machine: FNV-1a, then the finalizer of splitmix64.
fn draw(seed: u64, sku: &str) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(sku.bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_and_vouchers_lie_on_no_shelf() {
        for sku in ["POST", "D", "M", "BANK CHARGES", "AMAZONFEE", "S", "CRUK", "DOT", "C2", "GIFT_0001_40"] {
            assert!(!moves_stock(sku), "{sku}");
        }
        for sku in ["85123A", "22423", "DCGS0076", "PADS"] {
            assert!(moves_stock(sku), "{sku}");
        }
    }

    #[test]
    fn tenths_are_rounded_up() {
        assert_eq!([tenths(1, 9), tenths(10, 9), tenths(11, 9), tenths(1, 11), tenths(10, 11)], [1, 9, 10, 2, 11]);
    }

    #[test]
    fn a_seed_draws_alike_and_another_differently() {
        assert_eq!(draw(7, "85123A"), draw(7, "85123A"));
        assert_ne!(draw(7, "85123A"), draw(8, "85123A"));
        let scarce = (0..10_000).filter(|n| draw(7, &n.to_string()) % 100 < SCARCE_PERCENT).count();
        assert!((400..600).contains(&scarce), "{scarce}");
    }
}
