//! One round: clients ask, some faults happen, all heals, everything is read once more, and what
//! everybody was told is judged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use cluster_tests::{Rng, wait_for};

use super::ballast::ballast;
use super::client::{Recorder, load};
use super::faults::{Diary, Fault};
use super::ground::{Ground, Shape};
use super::judge::{Finding, Judge, keep};

/// What a round came to.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// Answers a second, while clients asked.
    pub(crate) rate: f64,
    pub(crate) answered: usize,
    pub(crate) unknown: usize,
    pub(crate) finding: Finding,
}

/// Plays a round; `name` is for people.
///
/// # Errors
///
/// When the cluster does not become whole, or a reply cannot be explained.
pub(crate) fn play(
    name: &str,
    ground: &Ground<'_>,
    faults: &[Fault],
    rng: &mut Rng,
    judge: &Judge,
) -> Result<Told> {
    let recorder = Recorder::new(name);
    let elapsed = || recorder.elapsed();
    let diary = Diary::new(&elapsed);
    let played = under_load(ground, faults, rng, &recorder, &diary);
    let story = format!("round {name}\n{}", diary.text());
    println!("{story}");
    let rate = match played {
        Ok(rate) => rate,
        Err(why) => {
            let kept = keep(name, &recorder.take()?, &ground.fleet, ground.nodes().len())?;
            return Err(why.context(format!("{story}\nevidence: {}", kept.display())));
        }
    };
    let read = recorder.read_all(&ground.ports(), ANSWERS_WITHIN);
    let history = recorder.take().with_context(|| story.clone())?;
    let kept = || {
        let kept = keep(name, &history, &ground.fleet, ground.nodes().len());
        kept.map(|dir| format!("{story}\nevidence: {}", dir.display()))
    };
    if let Err(why) = read.and_then(|()| ground.wait_equal()) {
        return Err(why.context(kept()?));
    }
    let finding = judge.judge(&history)?;
    if let Finding::Violation(violation) = &finding {
        return Err(anyhow!("{violation}").context(kept()?));
    }
    let unknown = history.iter().filter(|operation| operation.is_unknown()).count();
    let told = Told { rate, answered: history.len() - unknown, unknown, finding };
    println!("{told}");
    Ok(told)
}

/// Returns how many answers there were a second.
fn under_load(
    ground: &Ground<'_>,
    faults: &[Fault],
    rng: &mut Rng,
    recorder: &Recorder,
    diary: &Diary<'_>,
) -> Result<f64> {
    let ports = ground.ports();
    let stop = AtomicBool::new(false);
    let (mut of_load, mut of_ballast) = (Rng::new(rng.bits()), Rng::new(rng.bits()));
    thread::scope(|scope| {
        let clients = scope.spawn(|| load(&ports, &mut of_load, recorder, &stop));
        if ground.patient || ground.shape == Shape::Memory {
            scope.spawn(|| ballast(&ports, &mut of_ballast, &stop));
        }
        let happened: Vec<_> = faults
            .iter()
            .map(|fault| (fault.name, Rng::new(rng.bits())))
            .zip(faults)
            .map(|((name, rng), fault)| {
                (name, scope.spawn(move || fault.happen(ground, rng, diary)))
            })
            .collect();
        let mut ended = Ok(());
        for (name, fault) in happened {
            let fault = fault.join().map_err(|_| anyhow!("it panicked")).and_then(|it| it);
            ended = ended.and(fault.context(name));
        }
        let whole = ended.and_then(|()| {
            ground.heal().context("a node has ended by itself")?;
            diary.note("all faults are over");
            ground.wait_whole()?;
            diary.note("whole");
            wait_more(recorder)
        });
        let lasted = recorder.elapsed();
        let rate = recorder.answered() as f64 / lasted.as_secs_f64();
        stop.store(true, Ordering::SeqCst);
        clients.join().map_err(|_| anyhow!("a client panicked"))?;
        whole.map(|()| rate)
    })
}

/// Whatever was wrong, clients are served again.
fn wait_more(recorder: &Recorder) -> Result<()> {
    let wanted = recorder.answered() + MORE;
    wait_for("answers", ANSWERS_WITHIN, || {
        let have = recorder.answered();
        ensure!(wanted <= have, "{have} of {wanted}");
        Ok(())
    })
}

impl Told {
    /// Whether there was enough to be wrong about, and it was judged.
    pub(crate) fn counts(&self) -> bool {
        RATE_MIN <= self.rate && self.finding == Finding::Linearizable
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rate, answered, unknown, finding } = self;
        write!(f, "{answered} answered, {unknown} unknown, {rate:.0} a second: {finding:?}")?;
        if self.counts() { Ok(()) } else { write!(f, ": DOES NOT COUNT") }
    }
}

/// Answers a second below which a round proves too little.
const RATE_MIN: f64 = 200.0;
/// Answers after everything has healed.
const MORE: usize = 500;
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
