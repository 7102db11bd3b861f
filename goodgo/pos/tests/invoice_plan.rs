//! The plan of the sample: what becomes of its invoices, and that its parts agree with each other.

use std::collections::{BTreeMap, HashMap};

use expect_test::expect;
use goodgo_pos::invoice::{self, COLUMNS, Customer, Invoice, Limits, Milli, Plan, ReturnKind, Settings, Step};

fn sample() -> Vec<Invoice> {
    invoice::sample().unwrap().invoices
}

fn invoices(lines: &[&str]) -> Vec<Invoice> {
    let text = format!("{}\n{}\n", COLUMNS.join(","), lines.join("\n"));
    let read = invoice::read(text.as_bytes(), &Limits::default()).unwrap();
    assert!(read.report.is_clean(), "{:?}", read.report);
    read.invoices
}

const ALL: Settings = Settings { orders: None, seed: 7 };

#[test]
fn the_sample_becomes_so_many_of_each() {
    let plan = Plan::new(&sample(), &ALL);
    expect!["1629 orders (70 without capture, 229 of walk-in customers); 326 cancellations (127 matched to earlier orders, 21 in part, 178 not) become 359 returns: 4 cancel and refund an order, 156 return a part of one, 199 stand alone; 70 write-offs, 0 account adjustments"].assert_eq(&plan.summary.to_string());
    assert_eq!(plan.summary.orders, 2_025 - 326 - 70);
    assert_eq!(plan.orders().count(), plan.summary.orders);
}

#[test]
fn a_plan_is_the_same_every_time_and_another_seed_moves_only_the_stock() {
    let invoices = sample();
    let plan = Plan::new(&invoices, &ALL);
    assert_eq!(plan, Plan::new(&invoices, &ALL));
    let other = Plan::new(&invoices, &Settings { seed: 8, ..ALL });
    assert_eq!(plan.steps, other.steps);
    assert_ne!(plan.products, other.products);
}

#[test]
fn nothing_of_an_invoice_is_lost_or_doubled() {
    let invoices = sample();
    let plan = Plan::new(&invoices, &ALL);
    let mut money: HashMap<&str, Milli> = HashMap::new();
    let mut goods: HashMap<(&str, &str), i64> = HashMap::new();
    for step in &plan.steps {
        let (invoice, sign, lines) = match step {
            Step::Place(order) => (&order.invoice, 1, &order.lines),
            Step::Return(back) => (&back.invoice, -1, &back.lines),
            Step::WriteOff(write_off) => {
                for (sku, quantity) in &write_off.takes {
                    *goods.entry((&write_off.invoice, sku)).or_default() -= quantity;
                }
                continue;
            }
            Step::Account(_) => continue,
        };
        for line in lines {
            money.entry(invoice).or_default().0 += line.unit_price.times(sign * line.quantity).0;
            *goods.entry((invoice, &line.sku)).or_default() += sign * line.quantity;
        }
    }
    let mut want: HashMap<(&str, &str), i64> = HashMap::new();
    for invoice in &invoices {
        assert_eq!(
            money.get(invoice.number.as_str()).copied().unwrap_or_default(),
            invoice.total(),
            "{}",
            invoice.number
        );
        for item in &invoice.items {
            *want.entry((&invoice.number, &item.sku)).or_default() += item.quantity;
        }
    }
    assert_eq!(goods, want);
}

#[test]
fn time_runs_forward_and_a_return_follows_its_order() {
    let plan = Plan::new(&sample(), &ALL);
    let mut last = None;
    let mut orders = Vec::new();
    for step in &plan.steps {
        let at = match step {
            Step::Place(order) => {
                assert_eq!(order.index, orders.len());
                orders.push((order, order.total));
                order.at
            }
            Step::Return(back) => {
                assert_eq!(back.of.is_none(), back.kind == ReturnKind::Standalone);
                if let Some(of) = back.of {
                    let (order, left) = &mut orders[of];
                    assert!((order.customer, true) == (back.customer, order.at <= back.at), "{}", back.key());
                    left.0 -= back.refund.0;
                    assert!(left.0 >= 0, "{} refunds more than was paid", back.key());
                    assert!((back.kind != ReturnKind::Cancel) || *left == Milli(0), "{}", back.key());
                }
                back.at
            }
            Step::WriteOff(write_off) => write_off.at,
            Step::Account(account) => account.at,
        };
        assert!(last.is_none_or(|last| last <= at));
        last = Some(at);
    }
}

/// Replays the plan one step after another without any fault: the orders that find no stock.
fn refused(plan: &Plan) -> usize {
    let mut stock: BTreeMap<&str, i64> =
        plan.products.iter().map(|product| (product.sku.as_str(), product.opening_stock)).collect();
    let mut refused = vec![];
    for step in &plan.steps {
        match step {
            Step::Place(order) => {
                let takes = order.takes();
                if takes.iter().any(|(sku, quantity)| stock[sku] < *quantity) {
                    refused.push(order.index);
                } else {
                    for (sku, quantity) in takes {
                        *stock.get_mut(sku).unwrap() -= quantity;
                    }
                }
            }
            Step::Return(back) if back.of.is_none_or(|of| !refused.contains(&of)) => {
                for (sku, quantity) in back.restocks() {
                    *stock.get_mut(sku).unwrap() += quantity;
                }
            }
            Step::WriteOff(write_off) => {
                for (sku, quantity) in &write_off.takes {
                    assert!(
                        stock[sku.as_str()] >= *quantity || plan.products.iter().any(|p| p.sku == *sku && p.scarce),
                        "{sku}"
                    );
                    *stock.get_mut(sku.as_str()).unwrap() -= quantity;
                }
            }
            Step::Return(_) | Step::Account(_) => {}
        }
    }
    refused.len()
}

#[test]
fn some_products_run_out() {
    let plan = Plan::new(&sample(), &ALL);
    let stocked = plan.products.iter().filter(|product| product.stocked).count();
    let scarce = plan.products.iter().filter(|product| product.scarce).count();
    assert!((stocked * 3 / 100..=stocked * 7 / 100).contains(&scarce), "{scarce} of {stocked}");
    let refused = refused(&plan);
    expect!["82 of 1629 orders find no stock"]
        .assert_eq(&format!("{refused} of {} orders find no stock", plan.summary.orders));
    for product in &plan.products {
        assert!(product.opening_stock >= 0);
        assert!(product.stocked || (product.opening_stock, product.scarce) == (0, false), "{}", product.sku);
        assert!(!product.description.is_empty());
    }
}

#[test]
fn the_first_orders_bring_what_lies_between_them() {
    let invoices = sample();
    let all = Plan::new(&invoices, &ALL);
    for count in [0, 1, 100, 1_629, 5_000] {
        let plan = Plan::new(&invoices, &Settings { orders: Some(count), ..ALL });
        assert_eq!(plan.summary.orders, count.min(1_629));
        assert_eq!(plan.steps, all.steps[..plan.steps.len()], "a window of the whole");
        let demand: i64 = plan.orders().flat_map(|order| order.takes().into_values().collect::<Vec<_>>()).sum();
        assert_eq!(
            plan.products.iter().map(|product| product.demand).sum::<i64>(),
            demand,
            "stock is opened for the window"
        );
    }
}

#[test]
fn each_kind_of_invoice_becomes_its_step() {
    let plan = Plan::new(
        &invoices(&[
            "100,A,LANTERN,6,2010-12-01 08:26:00,2.5,1,UK",
            "100,A,LANTERN,1,2010-12-01 08:26:00,2.4,1,UK",
            "100,post,POSTAGE,1,2010-12-01 08:26:00,18.0,1,UK",
            "101,A,?,-3,2010-12-01 09:00:00,0.0,,UK",
            "102,G,CARD,2,2010-12-01 10:00:00,0.0,,UK",
            "102,G,CARD,-1,2010-12-01 10:00:00,0.0,,UK",
            "A103,B,Adjust bad debt,1,2010-12-01 11:00:00,-11062.06,,UK",
            "C104,A,LANTERN,-6,2010-12-02 08:00:00,2.5,1,UK",
            "C104,A,LANTERN,-1,2010-12-02 08:00:00,2.4,1,UK",
            "C104,POST,POSTAGE,-1,2010-12-02 08:00:00,18.0,1,UK",
            "C105,D,Discount,-1,2010-12-02 09:00:00,27.5,1,UK",
        ]),
        &ALL,
    );
    let [
        Step::Place(first),
        Step::WriteOff(lost),
        Step::Place(gift),
        Step::WriteOff(broken),
        Step::Account(debt),
        Step::Return(cancel),
        Step::Return(discount),
    ] = plan.steps.as_slice()
    else {
        panic!("{:#?}", plan.steps)
    };
    assert_eq!((first.total, first.lines.len(), first.takes()), (Milli(35_400), 3, BTreeMap::from([("A", 7)])));
    assert_eq!(lost.takes, BTreeMap::from([("A".to_owned(), 3)]));
    assert_eq!((gift.customer, gift.captures(), gift.takes()), (Customer::WalkIn, false, BTreeMap::from([("G", 2)])));
    assert_eq!(broken.takes, BTreeMap::from([("G".to_owned(), 1)]));
    assert_eq!(debt.amount, Milli(-11_062_060));
    assert_eq!((cancel.kind, cancel.of, cancel.refund), (ReturnKind::Cancel, Some(0), first.total));
    assert_eq!(cancel.restocks(), BTreeMap::from([("A", 7)]));
    assert_eq!((discount.kind, discount.of, discount.restocks()), (ReturnKind::Standalone, None, BTreeMap::new()));
    assert_eq!((discount.key(), discount.refund), ("C105-1".to_owned(), Milli(27_500)));

    let product = |sku: &str| plan.products.iter().find(|product| product.sku == sku).unwrap();
    assert_eq!(
        (product("A").description.as_str(), product("A").unit_price, product("A").demand),
        ("LANTERN", Milli(2_400), 7)
    );
    assert_eq!(product("A").opening_stock, if product("A").scarce { 6 } else { 8 } + 3);
    assert_eq!((product("POST").stocked, product("POST").opening_stock), (false, 0));
}

#[test]
fn an_unsorted_file_is_replayed_in_the_order_of_time() {
    let plan = Plan::new(
        &invoices(&[
            "C9,A,LANTERN,-1,2010-12-03 08:00:00,2.5,1,UK",
            "200,A,LANTERN,1,2010-12-02 08:00:00,2.5,1,UK",
            "100,A,LANTERN,1,2010-12-01 08:00:00,2.5,1,UK",
        ]),
        &ALL,
    );
    let [Step::Place(first), Step::Place(second), Step::Return(back)] = plan.steps.as_slice() else { panic!() };
    assert_eq!((first.invoice.as_str(), second.invoice.as_str(), back.of), ("100", "200", Some(1)), "the latest order");
}
