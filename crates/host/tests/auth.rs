//! Tokens: which are accepted, and every way in which one is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::Request;
use http_body_util::BodyExt;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use steadfast_core::{Clock, Principal, Timestamp, problem};
use steadfast_host::auth::{Config, Key, Minter, Verifier, authenticate};
use steadfast_host::config::Source;
use tower::ServiceExt;

const NOW: i64 = 1_700_000_000;
const SECRET: &[u8] = b"thirty-two bytes, and then a few";
const ISSUER: &str = "https://shop.example";

#[derive(Debug)]
struct Still(AtomicI64);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst) * 1000)
    }
}

fn clock() -> Arc<Still> {
    Arc::new(Still(AtomicI64::new(NOW)))
}

fn verifier() -> Verifier {
    Verifier::new(ISSUER, "shop", [Key::hs256("dev", SECRET).unwrap()], clock()).unwrap()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "shop", "sub": "till-7", "exp": NOW + 60, "permissions": ["order.place"]})
}

fn token(header: &Header, claims: &Value, secret: &[u8]) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn header(kid: &str) -> Header {
    Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::HS256) }
}

#[test]
fn a_minted_token_is_accepted_until_it_expires() {
    let clock = clock();
    let minter = Minter::new("dev", SECRET, ISSUER, "shop", Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    let key = Key::hs256("dev", SECRET).unwrap();
    let verifier = Verifier::new(ISSUER, "shop", [key], Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    let text = minter.mint("till-7", ["order.place", "order.read"], Duration::from_mins(1));
    assert_eq!(verifier.verify(&text).unwrap(), Principal::new("till-7", ["order.place", "order.read"]));
    clock.0.store(NOW + 90, Ordering::SeqCst);
    assert!(verifier.verify(&text).is_ok(), "within the leeway");
    clock.0.store(NOW + 91, Ordering::SeqCst);
    let problem = verifier.verify(&text).unwrap_err();
    assert!(problem.is(&problem::UNAUTHENTICATED) && problem.detail.contains("expired"), "{problem:?}");
}

#[test]
fn what_is_wrong_with_a_token_makes_it_refused() {
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        token(&header("dev"), &claims, SECRET)
    };
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        token(&header("dev"), &claims, SECRET)
    };
    let good = token(&header("dev"), &claims(), SECRET);
    assert!(verifier().verify(&good).is_ok());
    let (head, rest) = good.split_once('.').unwrap();
    let none = format!("{}.{}", BASE64.encode(r#"{"alg":"none","kid":"dev"}"#), rest.split('.').next().unwrap());
    for (case, text) in [
        ("other issuer", with("iss", json!("https://evil.example"))),
        ("other audience", with("aud", json!("bank"))),
        ("expired", with("exp", json!(NOW - 31))),
        ("not yet", with("nbf", json!(NOW + 31))),
        ("nobody", with("sub", json!(""))),
        ("permissions of another kind", with("permissions", json!("order.place"))),
        ("no issuer", without("iss")),
        ("no audience", without("aud")),
        ("no expiry", without("exp")),
        ("no subject", without("sub")),
        ("other key", token(&header("dev"), &claims(), b"another secret of thirty-two bytes or more")),
        ("unknown kid", token(&header("prod"), &claims(), SECRET)),
        ("other algorithm", token(&Header { alg: Algorithm::HS512, ..header("dev") }, &claims(), SECRET)),
        ("no algorithm", format!("{none}.")),
        ("no algorithm, two parts", none),
        ("no signature", format!("{head}.{}.", rest.split('.').next().unwrap())),
        ("cut", good[..good.len() - 2].to_owned()),
        ("empty", String::new()),
        ("huge", "a".repeat(9000)),
    ] {
        let problem = verifier().verify(&text).expect_err(case);
        assert!(problem.is(&problem::UNAUTHENTICATED), "{case}: {problem:?}");
        assert!(!problem.detail.contains("till-7") && !problem.detail.contains("evil"), "{case}: {problem:?}");
    }
}

#[test]
fn one_of_several_audiences_and_one_only_key_without_a_kid_are_enough() {
    let mut claims = claims();
    claims["aud"] = json!(["bank", "shop"]);
    assert!(verifier().verify(&token(&Header::new(Algorithm::HS256), &claims, SECRET)).is_ok());
    let keys = [Key::hs256("a", SECRET).unwrap(), Key::hs256("b", SECRET).unwrap()];
    let two = Verifier::new(ISSUER, "shop", keys, clock()).unwrap();
    assert!(two.verify(&token(&Header::new(Algorithm::HS256), &claims, SECRET)).is_err());
    assert!(two.verify(&token(&header("b"), &claims, SECRET)).is_ok());
}

/// The key of RFC 8037, appendix A.
const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const ED_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

#[test]
fn a_public_key_checks_and_cannot_be_used_as_a_secret() {
    let key = Key::ed_dsa("ed", ED_X).unwrap();
    let verifier = Verifier::new(ISSUER, "shop", [key, Key::hs256("dev", SECRET).unwrap()], clock()).unwrap();
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend(BASE64.decode(ED_D).unwrap());
    let header = Header { kid: Some("ed".to_owned()), ..Header::new(Algorithm::EdDSA) };
    let good = encode(&header, &claims(), &EncodingKey::from_ed_der(&der)).unwrap();
    assert!(verifier.verify(&good).is_ok());
    let public = BASE64.decode(ED_X).unwrap();
    for secret in [public.as_slice(), ED_X.as_bytes()] {
        assert!(verifier.verify(&token(&self::header("ed"), &claims(), secret)).is_err(), "signed with the public key");
    }
    assert!(verifier.verify(&token(&self::header("dev"), &claims(), SECRET)).is_ok());
}

#[test]
fn keys_that_are_none_are_refused_and_none_shows() {
    assert!(Key::hs256("dev", b"short").unwrap_err().to_string().contains("at least 32 bytes"));
    assert!(Minter::new("dev", b"short", ISSUER, "shop", clock()).is_err());
    assert!(Key::ed_dsa("ed", "no base64!").is_err());
    let twice = [Key::hs256("dev", SECRET).unwrap(), Key::hs256("dev", SECRET).unwrap()];
    assert!(Verifier::new(ISSUER, "shop", twice, clock()).unwrap_err().to_string().contains("\"dev\""));
    let minter = Minter::new("dev", SECRET, ISSUER, "shop", clock()).unwrap();
    let shown = format!("{:?} {:?} {minter:?}", Key::hs256("dev", SECRET), verifier());
    assert!(!shown.contains("thirty-two") && !shown.contains("116, 104"), "{shown}");
}

#[test]
fn the_configuration_makes_a_verifier() {
    let text = format!(
        "issuer = '{ISSUER}'\naudience = 'shop'\n[[keys]]\nkid = 'dev'\nalgorithm = 'hs256'\nsecret = {{ file = '{{}}' }}\n[[keys]]\nkid = 'ed'\nalgorithm = 'eddsa'\nx = '{ED_X}'\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dev.key");
    std::fs::write(&path, SECRET).unwrap();
    let load = |toml: &str| Source::new().text("auth.toml", toml).unwrap().load::<Config>().unwrap().value;
    let verifier = Verifier::from_config(&load(&text.replace("{}", path.to_str().unwrap())), clock()).unwrap();
    assert!(verifier.verify(&token(&header("dev"), &claims(), SECRET)).is_ok());
    let lacking = load("issuer='i'\naudience='a'\n[[keys]]\nkid='dev'\nalgorithm='hs256'");
    assert!(Verifier::from_config(&lacking, clock()).unwrap_err().to_string().contains("secret is missing"));
    let lacking = load("issuer='i'\naudience='a'\n[[keys]]\nkid='es'\nalgorithm='es256'\nx='aa'");
    assert!(Verifier::from_config(&lacking, clock()).unwrap_err().to_string().contains("y is missing"));
}

#[tokio::test]
async fn the_middleware_lets_callers_through_by_name_and_others_not() {
    let router = Router::new()
        .route("/", get(async |Extension(caller): Extension<Principal>| caller.subject().to_owned()))
        .route_layer(from_fn_with_state(verifier(), authenticate));
    let good = token(&header("dev"), &claims(), SECRET);
    let ask = async |values: &[String]| {
        let mut request = Request::get("/");
        for value in values {
            request = request.header("authorization", value);
        }
        router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    let answer = ask(&[format!("bearer {good}")]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "till-7");
    for values in [vec![], vec![format!("Basic {good}")], vec!["Bearer".to_owned()], vec![format!("Bearer {good}"); 2]]
    {
        let answer = ask(&values).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["www-authenticate"]),
            (401, &"Bearer".parse().unwrap())
        );
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
}
