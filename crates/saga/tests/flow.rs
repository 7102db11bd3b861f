//! The way forward and the way back.

use steadfast_core::Op;
use steadfast_saga::engine::Change;
use steadfast_saga::machine::Status;

use crate::shop::Fault;
use crate::world::{STEPS, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_completes_and_each_effect_stands_once() {
    let world = World::new().await;
    let (id, status) = world.run("1").await;
    assert_eq!(status, Status::Completed);
    world.check(id, status).await;
    assert_eq!(world.shop.arrived().len(), STEPS.len(), "one call a step");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_context_is_shown_by_the_names_of_the_audit_and_without_the_card() {
    let world = World::new().await;
    let (id, _) = world.run("1").await;
    let view = world.engine.show(id).await.unwrap().unwrap();
    let json = serde_json::to_value(&view).unwrap();
    let context = &json["context"];
    assert_eq!(context["sagaId"], id.to_string());
    assert_eq!(context["userId"], "till-7");
    assert_eq!(context["permissions"], serde_json::json!(["order.place", "payment.process"]));
    assert!(context["auditLog"].as_array().is_some_and(|log| !log.is_empty()));
    assert!(context.get("encryptedData").is_some());
    assert!(!json.to_string().contains("tok_secret"), "what is sensitive is shown to nobody");
    assert_eq!(view.steps.iter().map(|step| step.phase).collect::<Vec<_>>(), ["done"; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_refuses_and_all_before_it_is_taken_back_in_reverse() {
    for (at, step) in STEPS[..3].iter().enumerate() {
        let world = World::new().await;
        world.shop.fault(step, Op::Action, Fault::Refuse);
        let (id, status) = world.run("1").await;
        assert_eq!(status, Status::Compensated, "{step}");
        world.check(id, status).await;
        let done: Vec<_> = STEPS[..at].iter().rev().map(|step| (*step).to_owned()).collect();
        assert_eq!(world.undone_in_order(), done, "{step}: in reverse, and not the refused step itself");
        assert_eq!(world.shop.asked(STEPS[at + 1], Op::Action), 0, "{step}: nothing is sent beyond it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_loses_its_reply_and_is_done_once() {
    for fault in [Fault::LoseReply, Fault::Cut, Fault::status(500), Fault::status(503)] {
        for step in STEPS {
            let world = World::new().await;
            world.shop.fault(step, Op::Action, fault.clone());
            let (id, status) = world.run("1").await;
            assert_eq!(status, Status::Completed, "{step} {fault:?}");
            world.check(id, status).await;
            assert_eq!((world.shop.asked(step, Op::Action), world.shop.faults_left()), (2, 0), "{step} {fault:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_compensation_loses_its_reply_and_is_done_once() {
    for fault in [Fault::LoseReply, Fault::Cut] {
        for step in &STEPS[..2] {
            let world = World::new().await;
            world.shop.fault("reserve", Op::Action, Fault::Refuse);
            world.shop.fault(step, Op::Compensate, fault.clone());
            let (id, status) = world.run("1").await;
            assert_eq!(status, Status::Compensated, "{step} {fault:?}");
            world.check(id, status).await;
            assert_eq!((world.shop.asked(step, Op::Compensate), world.shop.faults_left()), (2, 0), "{step} {fault:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_whose_outcome_stays_unknown_is_compensated_too() {
    let world = World::new().await;
    for _ in 0..4 {
        world.shop.fault("pay", Op::Action, Fault::LoseReply);
    }
    let (id, status) = world.run("1").await;
    assert_eq!(status, Status::Compensated);
    world.check(id, status).await;
    assert_eq!(world.shop.effects(id, "pay", Op::Compensate).await, 1, "it had been done, unheard");
    assert_eq!(world.undone_in_order(), ["pay", "create"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_behind_a_lost_reply_is_believed_because_the_barrier_stored_it() {
    let world = World::new().await;
    world.shop.fault("pay", Op::Action, Fault::Cut);
    world.shop.fault("pay", Op::Action, Fault::Refuse);
    let (id, status) = world.run("1").await;
    assert_eq!(status, Status::Compensated);
    world.check(id, status).await;
    assert_eq!(world.shop.effects(id, "pay", Op::Compensate).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_the_commit_point_a_refusal_turns_nothing_back() {
    let world = World::new().await;
    world.shop.fault("confirm", Op::Action, Fault::Refuse);
    let (id, status) = world.run("1").await;
    assert_eq!(status, Status::Completed, "it is asked until it is done");
    world.check(id, status).await;
    assert_eq!(world.undone_in_order(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_sagas_at_once_all_end_right() {
    let world = World::new().await;
    for n in 0..20 {
        world.shop.fault("reserve", Op::Action, Fault::Refuse);
        // Few enough in a row that the participant is not taken for down.
        if n % 5 == 0 {
            world.shop.fault("pay", Op::Action, Fault::LoseReply);
        }
    }
    let mut started = Vec::new();
    for n in 0..100 {
        started.push(world.start(&n.to_string()).await.id);
    }
    let mut compensated = 0;
    for id in started {
        let status = world.settled(id).await;
        compensated += usize::from(status == Status::Compensated);
        world.check(id, status).await;
    }
    assert_eq!((compensated, world.shop.faults_left()), (20, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_told_as_it_becomes_durable() {
    let world = World::new().await;
    let mut changes = world.engine.watch();
    let (id, status) = world.run("1").await;
    assert_eq!(status, Status::Completed);
    let mut told = Vec::new();
    while told.last().is_none_or(|change: &Change| change.what != "completed") {
        told.push(changes.recv().await.unwrap());
    }
    assert!(told.iter().all(|change| change.saga_id == id && change.definition == "shop"));
    assert_eq!(told.len(), world.history(id).await.len(), "all that the journal holds");
    assert_eq!((told[0].what, told[0].seq, told[0].status), ("started", 1, "running"));
    assert!(told.is_sorted_by_key(|change| change.seq));
    let done: Vec<_> = told.iter().filter(|it| it.what == "done").filter_map(|it| it.step.as_deref()).collect();
    assert_eq!(done, STEPS);
    assert_eq!(told.last().unwrap().status, "completed");
    assert!(!serde_json::to_string(&told).unwrap().contains("till-7"), "nobody is named");
}
