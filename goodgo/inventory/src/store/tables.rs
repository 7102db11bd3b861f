//! The tables, whatever database they lie in. Everything takes the caller's transaction, so that it is atomic with the
//! caller's record.

use std::collections::HashSet;

use serde_json::{Value, json};
use sqlx::Transaction;
use steadfast::core::NewEvent;
use steadfast::locking::{self, Adjust, Entity, Expected, Key, Loser, Reason, Version};
use steadfast::outbox;
use uuid::Uuid;

use super::{Cause, Moved, OpeningStock, Product, Quantities, Rows};
use crate::Error;
use crate::stock::{Level, Move};

/// The tables' declarations; made once, since they hold the handles of metrics.
#[derive(Debug)]
pub(crate) struct Store {
    product: Entity,
    reservation: Entity,
    /// In the order of [`Move::ALL`].
    moves: Vec<Adjust>,
}

impl Store {
    pub(crate) fn new() -> Result<Self, Error> {
        let stock = Entity::new("stock", &["product"])?;
        let declare =
            |movement: Move| Ok(stock.adjust(movement.set(), movement.guard())?.returning("on_hand, reserved"));
        Ok(Self {
            product: Entity::new("product", &["product"])?,
            reservation: Entity::new("reservation", &["order_id"])?,
            moves: Move::ALL.into_iter().map(declare).collect::<Result<_, locking::Error>>()?,
        })
    }

    /// Moves all of these or none, books it and tells of it, one event for each product.
    pub(crate) async fn shift<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        movement: Move,
        quantities: &Quantities,
        cause: &Cause,
    ) -> Result<Moved, Error> {
        let changes = quantities.iter().map(|(product, quantity)| (product, *quantity));
        let adjusted = match self.moves[movement as usize].run_all(tx, changes).await {
            Ok(adjusted) => adjusted,
            Err(locking::Error::Losers { losers, .. }) => return Ok(Moved::None(losers)),
            Err(error) => return Err(error.into()),
        };
        if let Some((kind, sign)) = movement.booking() {
            let rows = quantities.iter().map(|(product, quantity)| json!([product, sign * quantity])).collect();
            DB::insert_movements(tx, kind, rows, cause).await?;
        }
        let mut events = Vec::with_capacity(adjusted.len());
        for row in &adjusted {
            let (on_hand, reserved) = DB::level(&row.row)?;
            let level = Level { on_hand, reserved };
            let signed = movement.booking().map_or(1, |(_, sign)| sign) * row.amount;
            events.push(told(cause, movement.event_type(), &row.key.to_string(), row.version.get(), signed, level));
        }
        outbox::append_many(tx, &events, cause.now).await?;
        Ok(Moved::All)
    }

    /// Remembers what is promised to an order; `false` where something is already.
    pub(crate) async fn reserve<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        order_id: Uuid,
        quantities: &Quantities,
        cause: &Cause,
    ) -> Result<bool, Error> {
        let Some(key) = DB::insert_reservation(tx, order_id, cause.now).await? else { return Ok(false) };
        let lines: Value = quantities.iter().map(|(product, quantity)| json!([product, quantity])).collect();
        DB::insert_reservation_lines(tx, key, lines).await?;
        Ok(true)
    }

    /// Ends a reservation: released, or committed. Both follow a reservation that this database has recorded, so one
    /// that is missing or has ended is a contradiction.
    pub(crate) async fn settle<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        order_id: Uuid,
        movement: Move,
        status: &'static str,
        cause: &Cause,
    ) -> Result<(), Error> {
        let rows = DB::read_reservation(tx, order_id).await?;
        let corrupt = |fault: &str| Error::Corrupt(format!("reservation of order {order_id}: {fault}"));
        let Some((present, version, ..)) = rows.first() else { return Err(corrupt("there is none")) };
        if present != "reserved" {
            return Err(corrupt(&format!("it is {present} and cannot become {status}")));
        }
        let version = Version::from_stored(*version);
        self.reservation.replace(order_id, version).set("status", status).run(tx).await?;
        let quantities = rows.into_iter().map(|(_, _, product, quantity)| (product, quantity)).collect();
        match self.shift(tx, movement, &quantities, cause).await? {
            Moved::All => Ok(()),
            Moved::None(losers) => Err(corrupt(&format!("the stock does not hold it: {}", names(&losers)))),
        }
    }

    /// Takes goods in, whatever they are: what was never listed is listed, at no price.
    pub(crate) async fn take_back<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        quantities: &Quantities,
        cause: &Cause,
    ) -> Result<(), Error> {
        let Moved::None(losers) = self.shift(tx, Move::TakeBack, quantities, cause).await? else { return Ok(()) };
        let unknown: Vec<OpeningStock> = losers
            .iter()
            .filter(|loser| loser.reason == Reason::NotFound)
            .map(|loser| OpeningStock {
                product: loser.key.to_string(),
                description: String::new(),
                price: 0,
                quantity: 0,
            })
            .collect();
        self.open(tx, &unknown, cause).await?;
        match self.shift(tx, Move::TakeBack, quantities, cause).await? {
            Moved::All => Ok(()),
            Moved::None(losers) => Err(Error::Corrupt(format!("goods cannot be taken in: {}", names(&losers)))),
        }
    }

    /// Lists products that are not there yet, with what there is of them; says how many they were.
    pub(crate) async fn open<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        opening: &[OpeningStock],
        cause: &Cause,
    ) -> Result<usize, Error> {
        let row = |it: &OpeningStock| json!([it.product, it.description, it.price, it.quantity]);
        let listed: HashSet<String> =
            DB::insert_products(tx, opening.iter().map(row).collect()).await?.into_iter().collect();
        let mut new: Vec<&OpeningStock> = opening.iter().filter(|it| listed.contains(&it.product)).collect();
        // A product that is named twice is listed as its first line says.
        let mut seen = HashSet::new();
        new.retain(|it| seen.insert(it.product.as_str()));
        if new.is_empty() {
            return Ok(0);
        }
        DB::insert_stock(tx, new.iter().map(|it| row(it)).collect()).await?;
        let booked = new.iter().map(|it| json!([it.product, it.quantity])).collect();
        DB::insert_movements(tx, "opened", booked, cause).await?;
        let events: Vec<NewEvent> = new.iter().flat_map(|it| opened(it, cause)).collect();
        outbox::append_many(tx, &events, cause.now).await?;
        Ok(new.len())
    }

    /// An edit of what somebody has read. That nothing changed is no reason for a new version.
    pub(crate) async fn edit<DB: Rows>(
        &self,
        tx: &mut Transaction<'_, DB>,
        edit: &Product,
        expected: Expected,
        cause: &Cause,
    ) -> Result<Version, Error> {
        let Product { code, description, price, .. } = edit;
        let replace = self.product.replace(Key::from(code), expected);
        let saved = replace.set("description", description).set("price", *price).keep_if_equal().run(tx).await?;
        if saved.changed {
            let payload = json!({"product": code, "description": description, "price": price});
            let event = cause.event("product", code, "product.changed.v1", saved.version.get(), payload);
            outbox::append(tx, &event, cause.now).await?;
        }
        Ok(saved.version)
    }
}

/// The products that stood in the way.
fn names(losers: &[Loser]) -> String {
    losers.iter().map(|loser| loser.key.to_string()).collect::<Vec<_>>().join(", ")
}

pub(super) fn told(
    cause: &Cause,
    event_type: &str,
    product: &str,
    version: i64,
    quantity: i64,
    level: Level,
) -> NewEvent {
    let Level { on_hand, reserved } = level;
    let payload = json!({"product": product, "quantity": quantity, "on_hand": on_hand, "reserved": reserved});
    cause.event("stock", product, event_type, version, payload)
}

fn opened(it: &OpeningStock, cause: &Cause) -> [NewEvent; 2] {
    let OpeningStock { product, description, price, quantity } = it;
    let listed = json!({"product": product, "description": description, "price": price});
    let level = Level { on_hand: *quantity, reserved: 0 };
    [
        cause.event("product", product, "product.listed.v1", 1, listed),
        told(cause, "stock.opened.v1", product, 1, *quantity, level),
    ]
}
