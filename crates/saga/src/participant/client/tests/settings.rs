//! What the operator writes.

use super::*;

fn fault(change: impl FnOnce(&mut ParticipantConfig)) -> ConfigFault {
    let mut config = ParticipantConfig::new("payment", "http://payment.internal:8080", key());
    change(&mut config);
    Participants::new(vec![config]).unwrap_err()
}

#[test]
fn a_table_is_a_participant() {
    let settings: Settings = serde_json::from_value(serde_json::json!({
        "base_urls": ["http://payment-1:8080/api", "http://[fd00::7]:8080"],
        "connect_timeout": "250ms", "idempotency_ttl": "7d", "probe": "/saga/{saga}/{step}", "allow": ["fe80::/10"],
    }))
    .unwrap();
    let participants = Participants::new(vec![settings.named("payment", key())]).unwrap();
    let payment = participants.get("payment").unwrap();
    assert_eq!(participants.names().collect::<Vec<_>>(), ["payment"]);
    assert!(payment.barrier() && payment.has_probe() && participants.get("order").is_none());
    assert_eq!((payment.name(), payment.idempotency_ttl()), ("payment", Some(Duration::from_hours(7 * 24))));
    for bad in [
        serde_json::json!({ "base_urls": ["http://x"], "conect_timeout": "1s" }),
        serde_json::json!({ "base_urls": ["http://x"], "connect_timeout": "1 sec" }),
        serde_json::json!({}),
    ] {
        assert!(serde_json::from_value::<Settings>(bad).is_err());
    }
}

#[test]
fn each_fault_names_the_field_and_the_way_out() {
    for url in [
        "",
        "payment",
        "payment:8080",
        "ftp://payment",
        "http://",
        "http://:80",
        "http://payment:0",
        "http://payment:x",
        "http://payment:",
        "http://payment/?x",
        "http://payment/#x",
        "http://user:secret@payment/",
    ] {
        let fault = fault(|config| config.base_urls = vec![url.to_owned()]);
        assert_eq!(fault.field, "base_urls", "{url}");
        assert!(!fault.to_string().contains("secret") && !fault.way_out.is_empty(), "{fault}");
    }
    #[cfg(not(feature = "tls"))]
    {
        let tls = fault(|config| config.base_urls = vec!["https://payment".to_owned()]);
        assert!(tls.to_string().contains("TLS"), "{tls}");
    }
    assert_eq!(fault(|config| config.base_urls.clear()).field, "base_urls");
    assert_eq!(fault(|config| config.base_urls.push("http://payment.internal:8080/".into())).field, "base_urls");
    assert_eq!(fault(|config| config.concurrency = 0).field, "concurrency");
    assert_eq!(fault(|config| config.connect_timeout = Duration::ZERO).field, "connect_timeout");
    assert_eq!(fault(|config| config.allow.push("payment".into())).field, "allow");
    assert_eq!(fault(|config| config.name.clear()).field, "name");
    for probe in ["", "probe/{key}", "/probe", "/{saga}", "/{key}/{user}", "/{key} x", "/{key}#x"] {
        assert_eq!(fault(|config| config.probe = Some(probe.into())).field, "probe", "{probe}");
    }
    let config = ParticipantConfig::new("payment", "http://payment", key());
    assert_eq!(Participants::new(vec![config.clone(), config]).unwrap_err().field, "name");
}

#[test]
fn nothing_shows_a_key_or_a_user() {
    let participants = Participants::new(vec![ParticipantConfig::new("payment", "http://payment", key())]).unwrap();
    let key_of_step = step(Op::Action);
    let text = format!("{participants:?} {:?}", outgoing(&key_of_step));
    assert!(!text.contains("till-7") && !text.contains("amount") && text.contains("Key(hidden)"), "{text}");
}
