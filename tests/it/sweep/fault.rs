//! Misled at every step, and run again until it is done.

use super::crash::{Undisturbed, same};
use super::world::{At, Left, SHAPES, Spot, World, everybody_waits};
use super::{Trial, Tried, is_exhaustive, on_a_paused_clock, try_all};
use crate::support::haul::Ran;
use mailhaul::transfer::{Ending, Event, Mode};
use mailhaul_testserver::{Act, Nth, Point};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Runs after which all must be well, once what went wrong goes wrong no more.
const RUNS_MAX: usize = 3;
/// How long a run may take, by its own clock, whatever goes wrong: its patience, which is five minutes, on every side
/// and in every folder.
const RUN_MAX: Duration = Duration::from_secs(60 * 60);
/// Connections a run may make however often they break.
const CONNECTIONS_MAX: u64 = 400;

/// What goes wrong, and what it is called.
pub(super) type Wrong = (&'static str, Act);

/// All that can go wrong at a point.
pub(super) fn wrongs(point: &Point) -> Vec<Wrong> {
    let garbage = || Act::Garbage(b"\x00\xff* 1 FETCH ((((\r\nX nonsense\r\n".to_vec());
    let broken = [("cut", Act::Drop), ("half-closed", Act::HalfClose), ("stalled", Act::Stall)];
    let goodbye = ("BYE", Act::Bye("shutting down".to_owned()));
    let said = |name: &'static str, text: &str| (name, Act::Reply(text.to_owned()));
    let mut wrongs = broken.to_vec();
    match point {
        Point::Connect => {}
        Point::Greeting => wrongs.extend([goodbye, ("garbage", garbage()), said("NO", "NO not now")]),
        Point::Command(verb) => {
            wrongs.extend([goodbye, ("garbage", garbage()), ("answer lost", Act::SwallowReply)]);
            // A flag that is refused costs the flag, which is another test's.
            if verb == "UID STORE" {
                return wrongs;
            }
            wrongs.extend([said("NO", "NO that went wrong"), said("BAD", "BAD what is this")]);
            wrongs.extend([said("NO [LIMIT]", "NO [LIMIT] too much at once")]);
        }
        // That the answer is lost is tried at the command.
        Point::AfterExecute(_) => wrongs = vec![("stalled", Act::Stall), ("half-closed", Act::HalfClose)],
        Point::AfterReply(_) => wrongs.extend([goodbye, ("garbage", garbage())]),
        Point::Literal(..) | Point::LiteralHalf(_) => wrongs.extend([said("NO", "NO that went wrong"), goodbye]),
        _ => {}
    }
    wrongs
}

/// Says what a run has told of what did not arrive; nothing: it says that all is well.
fn told(ran: &Ran, left: &Left, expected: &Left) -> bool {
    let end = &ran.end.accounts[0];
    let changed = ran.events.iter().any(|event| matches!(event, Event::MessageChanged { .. }));
    end.failure.is_some() || !end.folders_failed.is_empty() || left.fates != expected.fates || changed
}

/// Runs again until all is as it should be.
pub(super) async fn made_good(world: &World, expected: &Left, first: Ran, runs_max: usize) -> Result<(), String> {
    let mut left = world.left(&first);
    let mut ran = first;
    for _ in 0..runs_max {
        let differences = left.differences(expected);
        if differences.is_empty() {
            return Ok(());
        }
        if left.mail != expected.mail && !told(&ran, &left, expected) {
            return Err(format!("not told:\n{differences}{:#?}", ran.end));
        }
        // What was refused is tried again only if somebody asks for it.
        world.run_in(Mode { retry: true, ..Mode::default() }).await;
        ran = world.run_in(Mode::default()).await;
        left = world.left(&ran);
    }
    same(&left, expected, "never made good").map_err(|error| format!("{error}{:#?}", ran.end))
}

/// Runs within bounds.
pub(super) async fn bounded_run(world: &World) -> Result<Ran, String> {
    let (begun, before) = (Instant::now(), connections(world));
    let ran = tokio::time::timeout(RUN_MAX, world.run()).await.map_err(|_| "it goes on and on".to_owned())?;
    let (took, made) = (begun.elapsed(), connections(world) - before);
    if made > CONNECTIONS_MAX {
        return Err(format!("{made} connections in {took:?}: {:#?}", ran.end));
    }
    Ok(ran)
}

fn connections(world: &World) -> u64 {
    world.source.stats().connections + world.target.stats().connections
}

/// Migrates, misled once or from some moment on.
async fn misled(undisturbed: &Undisturbed, spot: &Spot, nth: Nth, act: &Act) -> Result<Tried, String> {
    let At::Server(side, point) = &spot.at else { return Ok(Tried::NotReached) };
    let world = World::new(&undisturbed.shape);
    let mut fired = 0;
    for pass in 0..2 {
        let mut rule = None;
        if spot.pass == pass {
            rule = Some(world.server(*side).faults().add(point.clone(), nth, act.clone()));
        }
        let ran = bounded_run(&world).await?;
        if let Some(rule) = rule {
            fired = world.server(*side).faults().fired(rule);
            let persistent = matches!(nth, Nth::From(_));
            let end = &ran.end.accounts[0];
            if persistent && end.ending == Ending::Complete {
                return Err(format!("it says that it is complete: {end:#?}"));
            }
        }
        world.source.faults().clear();
        world.target.faults().clear();
        everybody_waits().await;
        let good = made_good(&world, &undisturbed.left[pass], ran, RUNS_MAX).await;
        good.map_err(|why| format!("pass {}: {why}\n{}", pass + 1, world.story()))?;
        if pass == 0 {
            world.change();
        }
    }
    same(&world.settled().await?, &undisturbed.left[1], "after a further run")?;
    Ok(if fired > 0 { Tried::Reached } else { Tried::NotReached })
}

type Case<'a> = (&'a Undisturbed, &'a Spot, Nth, Wrong);

fn named((undisturbed, spot, nth, (wrong, _)): &Case<'_>) -> (String, String) {
    (format!("{}: {spot} ({wrong}, {nth:?})", undisturbed.shape.name), (*wrong).to_owned())
}

fn server_spots(undisturbed: &Undisturbed) -> impl Iterator<Item = (&Spot, &Point)> {
    undisturbed.spots.iter().filter_map(|spot| match &spot.at {
        At::Server(_, point) => Some((spot, point)),
        _ => None,
    })
}

#[test]
fn misled_once_at_any_step_it_ends_the_same() {
    let shapes = if is_exhaustive() { &SHAPES[..] } else { &SHAPES[..2] };
    let all: Vec<Undisturbed> = shapes.iter().copied().map(Undisturbed::of).collect();
    let mut cases: Vec<Case<'_>> = Vec::new();
    for (shape, undisturbed) in all.iter().enumerate() {
        for (at, (spot, point)) in server_spots(undisturbed).enumerate() {
            let wrongs = wrongs(point).into_iter().enumerate();
            // Between two commands little differs: one thing goes wrong at each of these.
            let turns = match (shape, point) {
                (0, Point::AfterReply(_) | Point::AfterExecute(_)) => wrongs.len(),
                (0, _) => 1,
                _ => 12,
            };
            let wanted = wrongs.filter(|(n, _)| is_exhaustive() || (at + n) % turns == 0);
            cases.extend(wanted.map(|(_, wrong)| (undisturbed, spot, Nth::Only(spot.nth), wrong)));
        }
    }
    let trial = Trial { what: "fault sweep".to_owned(), missed_max: cases.len() / 20 };
    try_all(&trial, &cases, named, |(undisturbed, spot, nth, (_, act))| {
        on_a_paused_clock(misled(undisturbed, spot, *nth, act))
    });
}

#[test]
fn misled_for_ever_it_ends_and_says_so() {
    let undisturbed = Undisturbed::of(SHAPES[0]);
    let mut kinds: BTreeMap<&At, Vec<&Spot>> = BTreeMap::new();
    for (spot, _) in server_spots(&undisturbed) {
        kinds.entry(&spot.at).or_default().push(spot);
    }
    let mut cases: Vec<Case<'_>> = Vec::new();
    for (at, alike) in kinds {
        let At::Server(_, point) = at else { continue };
        let middle = is_exhaustive().then(|| alike[alike.len() / 2]);
        for spot in [Some(alike[0]), middle].into_iter().flatten() {
            cases.extend(wrongs(point).into_iter().map(|wrong| (&undisturbed, spot, Nth::From(spot.nth), wrong)));
        }
    }
    let trial = Trial { what: "fault sweep, for ever".to_owned(), missed_max: cases.len() / 20 };
    try_all(&trial, &cases, named, |(undisturbed, spot, nth, (_, act))| {
        on_a_paused_clock(misled(undisturbed, spot, *nth, act))
    });
}
