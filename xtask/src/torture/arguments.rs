//! What is asked for on the command line.

use std::time::Duration;

use anyhow::{Context, Result, bail};

const LENGTH: Duration = Duration::from_mins(1);
/// A day: beyond it a mistyped number is likelier.
const MINUTES_MAX: f64 = 1440.0;

/// A kind of torture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Campaign {
    Saga,
    /// Relay and read model: `projection` is another name of it.
    Outbox,
    Idempotency,
    /// All of it together, several processes of each kind.
    Platform,
}

impl Campaign {
    const NAMES: [(&str, Self); 5] = [
        ("saga", Self::Saga),
        ("outbox", Self::Outbox),
        ("projection", Self::Outbox),
        ("idempotency", Self::Idempotency),
        ("platform", Self::Platform),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Saga => "saga",
            Self::Outbox => "outbox",
            Self::Idempotency => "idempotency",
            Self::Platform => "platform",
        }
    }

    /// What can be taken away that its promise rests on.
    fn weakenings(self) -> &'static [Weakening] {
        match self {
            Self::Saga => &[Weakening::Barrier],
            Self::Outbox => &[Weakening::Deduplication],
            Self::Idempotency => &[Weakening::Store, Weakening::Compare],
            Self::Platform => &[Weakening::Synchrony],
        }
    }
}

/// What is taken away: then the checks must find violations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weakening {
    /// Participants take effect without looking at their barrier.
    Barrier,
    /// A consumer applies what comes again.
    Deduplication,
    /// No key is kept.
    Store,
    /// Who finishes late overwrites what stands in the one Redis.
    Compare,
    /// Commits do not wait for PostgreSQL's standby, which lags behind when it is promoted.
    Synchrony,
}

impl Weakening {
    fn option(self) -> &'static str {
        match self {
            Self::Barrier => "--without-barrier",
            Self::Deduplication => "--without-deduplication",
            Self::Store => "--without-store",
            Self::Compare => "--without-compare",
            Self::Synchrony => "--without-synchrony",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) campaign: Campaign,
    /// How long faults are made. Start, healing and checks come on top.
    pub(super) length: Duration,
    pub(super) seed: u64,
    pub(super) weakened: Option<Weakening>,
}

pub(super) fn parse(words: &[String]) -> Result<Arguments> {
    let names = Campaign::NAMES.map(|(name, _)| name).join(", ");
    let Some((name, options)) = words.split_first() else { bail!("say what to torture: {names}") };
    let (_, campaign) = Campaign::NAMES
        .into_iter()
        .find(|(known, _)| known == name)
        .with_context(|| format!("there is no torture {name:?}: {names}"))?;
    let mut arguments = Arguments { campaign, length: LENGTH, seed: fastrand::u64(..1_000_000_000), weakened: None };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if let Some(weakening) = campaign.weakenings().iter().find(|it| it.option() == option) {
            arguments.weakened = Some(*weakening);
            continue;
        }
        let value = options.next().with_context(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--minutes" => arguments.length = minutes(option, value, 1.0)?,
            "--seconds" => arguments.length = minutes(option, value, 60.0)?,
            "--seed" => arguments.seed = value.parse().with_context(|| format!("--seed {value:?}: give a number"))?,
            other => {
                let weakenings = campaign.weakenings().iter().map(|it| it.option());
                let known = ["--minutes", "--seconds", "--seed"].into_iter().chain(weakenings);
                bail!("torture {name} knows no {other:?}: there are {}", known.collect::<Vec<_>>().join(", "))
            }
        }
    }
    Ok(arguments)
}

fn minutes(option: &str, value: &str, per_minute: f64) -> Result<Duration> {
    let number: f64 = value.parse().with_context(|| format!("{option} {value:?}: give a number"))?;
    let minutes = number / per_minute;
    if !(0.05..=MINUTES_MAX).contains(&minutes) {
        bail!("{option} {value}: it must be from three seconds to a day");
    }
    Ok(Duration::from_secs_f64(minutes * 60.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Arguments> {
        parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn length_and_seed_are_read() {
        let arguments = parsed(&["saga", "--minutes", "3", "--seed", "7"]).unwrap();
        let length = Duration::from_mins(3);
        assert_eq!(arguments, Arguments { campaign: Campaign::Saga, length, seed: 7, weakened: None });
        assert!(parsed(&["saga", "--without-barrier", "--seed", "7"]).unwrap().weakened.is_some());
        let weakened = parsed(&["projection", "--without-deduplication"]).unwrap();
        assert!(weakened.campaign == Campaign::Outbox && weakened.weakened == Some(Weakening::Deduplication));
        for weakening in [Weakening::Store, Weakening::Compare] {
            assert_eq!(parsed(&["idempotency", weakening.option()]).unwrap().weakened, Some(weakening));
        }
        assert_eq!(parsed(&["platform", "--seconds", "9"]).unwrap().campaign, Campaign::Platform);
        assert_eq!(parsed(&["platform", "--without-synchrony"]).unwrap().weakened, Some(Weakening::Synchrony));
        assert_eq!(parsed(&["saga", "--seconds", "60"]).unwrap().length, Duration::from_mins(1));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_way_out() {
        for (words, told) in [
            (&[] as &[&str], "saga"),
            (&["sagas"], "saga"),
            (&["saga", "--minutes"], "needs a value"),
            (&["saga", "--minutes", "0"], "three seconds"),
            (&["saga", "--minutes", "NaN"], "three seconds"),
            (&["saga", "--seed", "x"], "give a number"),
            (&["saga", "--loud", "1"], "--minutes"),
            (&["outbox", "--without-barrier", "1"], "--without-deduplication"),
            (&["idempotency", "--without-barrier", "1"], "--without-compare"),
            (&["platform", "--without-barrier", "1"], "--without-synchrony"),
        ] {
            let said = parsed(words).unwrap_err().to_string();
            assert!(said.contains(told), "{words:?}: {said}");
        }
    }
}
