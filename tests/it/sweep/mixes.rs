//! Several things go wrong in one migration, on both sides, by chance; the same ones for the same seed.
//!
//! `MAILHAUL_SWEEP_SEED=17 cargo test --test it mixes` replays one; `MAILHAUL_SWEEP_MIXES=1000` tries more of them.

use super::crash::{Undisturbed, same};
use super::fault::{Wrong, bounded_run, made_good, wrongs};
use super::world::{At, SHAPES, Spot, Stop, World, everybody_waits};
use super::{Trial, Tried, on_a_paused_clock, try_all};
use mailhaul_testserver::Nth;

/// Mixes where nobody asks for more.
const MIXES: u64 = 150;
/// The first seed: chosen once, so that everybody tries the same ones.
const FIRST_SEED: u64 = 1;
/// Runs after which all must be well.
const RUNS_MAX: usize = 6;

/// What goes wrong in one migration.
struct Mix<'a> {
    seed: u64,
    undisturbed: &'a Undisturbed,
    faults: Vec<(&'a Spot, Wrong)>,
    /// Where the first pass, or the second, is stopped beside that.
    stop: Option<(&'a Spot, Stop)>,
}

impl<'a> Mix<'a> {
    fn of(seed: u64, all: &'a [Undisturbed]) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let undisturbed = &all[chance.usize(..all.len())];
        let spots = &undisturbed.spots;
        let mut faults = Vec::new();
        let wanted = chance.usize(2..=6);
        while faults.len() < wanted {
            let spot = &spots[chance.usize(..spots.len())];
            let At::Server(_, point) = &spot.at else { continue };
            let mut wrongs = wrongs(point);
            if !wrongs.is_empty() {
                faults.push((spot, wrongs.swap_remove(chance.usize(..wrongs.len()))));
            }
        }
        let stop = chance.bool().then(|| {
            let stop = if chance.bool() { Stop::Drop } else { Stop::Cut };
            (&spots[chance.usize(..spots.len())], stop)
        });
        Self { seed, undisturbed, faults, stop }
    }

    fn told(&self) -> String {
        let faults = self.faults.iter().map(|(spot, (wrong, _))| format!("{spot} ({wrong})"));
        let stop = self.stop.iter().map(|(spot, stop)| format!("{spot} (stopped: {stop:?})"));
        faults.chain(stop).collect::<Vec<_>>().join(", ")
    }

    async fn run(&self) -> Result<Tried, String> {
        let world = World::new(&self.undisturbed.shape);
        for pass in 0..2 {
            for (spot, (_, act)) in self.faults.iter().filter(|(spot, _)| spot.pass == pass) {
                let At::Server(side, point) = &spot.at else { continue };
                world.server(*side).faults().add(point.clone(), Nth::Only(spot.nth), act.clone());
            }
            let stopped = match &self.stop {
                Some((spot, stop)) if spot.pass == pass => world.run_until(spot, *stop).await,
                _ => None,
            };
            let ran = match stopped {
                Some(ran) => ran,
                None => bounded_run(&world).await?,
            };
            let good = made_good(&world, &self.undisturbed.left[pass], ran, RUNS_MAX).await;
            good.map_err(|why| format!("pass {}: {why}\n{}", pass + 1, world.story()))?;
            world.source.faults().clear();
            world.target.faults().clear();
            everybody_waits().await;
            if pass == 0 {
                world.change();
            }
        }
        same(&world.settled().await?, &self.undisturbed.left[1], "after a further run")?;
        Ok(Tried::Reached)
    }
}

#[test]
fn mixes_of_faults_end_the_same() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seeds = match number("MAILHAUL_SWEEP_SEED") {
        Some(seed) => seed..seed + 1,
        None => FIRST_SEED..FIRST_SEED + number("MAILHAUL_SWEEP_MIXES").unwrap_or(MIXES),
    };
    let all: Vec<Undisturbed> = SHAPES.into_iter().map(Undisturbed::of).collect();
    let mixes: Vec<Mix<'_>> = seeds.map(|seed| Mix::of(seed, &all)).collect();
    let named = |mix: &Mix<'_>| {
        let name = format!("MAILHAUL_SWEEP_SEED={}: {}: {}", mix.seed, mix.undisturbed.shape.name, mix.told());
        (name, format!("of {} faults", mix.faults.len()))
    };
    let trial = Trial { what: "mixes".to_owned(), missed_max: 0 };
    try_all(&trial, &mixes, named, |mix| on_a_paused_clock(mix.run()));
}
