//! Stopped at every step, and resumed.

use super::world::{At, SHAPES, Shape, Spot, Stop, World};
use super::{Trial, Tried, is_exhaustive, on_a_paused_clock, try_all, world};
use mailhaul::mail::Side;
use mailhaul::transfer::Ending;
use mailhaul_testserver::Point;

/// What is left after each pass of a migration that nobody disturbs, and the steps it has.
pub(super) struct Undisturbed {
    pub(super) shape: Shape,
    pub(super) left: [world::Left; 2],
    pub(super) spots: Vec<Spot>,
}

impl Undisturbed {
    pub(super) fn of(shape: Shape) -> Self {
        on_a_paused_clock(async {
            let world = World::new(&shape);
            let (first, mut spots) = world.record(0).await;
            let after_first = world.left(&first);
            world.change();
            let (second, more) = world.record(1).await;
            spots.extend(more);
            for ran in [&first, &second] {
                assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions, "{:#?}", ran.end);
            }
            let left = [after_first, world.settled().await.unwrap()];
            Self { shape, left, spots }
        })
    }
}

impl Undisturbed {
    /// How many APPENDs the first run takes.
    pub(super) fn appends(&self) -> u64 {
        let append = At::Server(Side::Target, Point::command("APPEND"));
        self.spots.iter().filter(|spot| spot.pass == 0 && spot.at == append).map(|spot| spot.nth).max().unwrap_or(0)
    }
}

/// Migrates, stopped once, and gives whether the spot was reached.
async fn stopped_once(undisturbed: &Undisturbed, spot: &Spot, stop: Stop) -> Result<Tried, String> {
    let world = World::new(&undisturbed.shape);
    if spot.pass == 1 {
        world.run().await;
        world.change();
    }
    let ran = world.run_until(spot, stop).await;
    resumed(undisturbed, &world, spot.pass).await?;
    Ok(if ran.is_none() { Tried::Reached } else { Tried::NotReached })
}

/// Goes on in the pass in which something happened; all must be as if it had not.
pub(super) async fn resumed(undisturbed: &Undisturbed, world: &World, pass: usize) -> Result<(), String> {
    for pass in pass..2 {
        let ran = world.run().await;
        same(&world.left(&ran), &undisturbed.left[pass], &format!("after pass {}", pass + 1))?;
        if pass == 0 {
            world.change();
        }
    }
    same(&world.settled().await?, &undisturbed.left[1], "after a further run")
}

pub(super) fn same(left: &world::Left, expected: &world::Left, when: &str) -> Result<(), String> {
    let differences = left.differences(expected);
    if differences.is_empty() { Ok(()) } else { Err(format!("{when}:\n{differences}")) }
}

#[test]
fn stopped_at_any_step_and_resumed_it_ends_the_same() {
    let all: Vec<Undisturbed> = SHAPES.into_iter().map(Undisturbed::of).collect();
    let mut cases = Vec::new();
    for (shape, undisturbed) in all.iter().enumerate() {
        for (at, spot) in undisturbed.spots.iter().enumerate() {
            // Both with the first shape; the others take the spots in turns, and the stops.
            let in_turn = |n: usize| at % (SHAPES.len() - 1) == shape - 1 && at / (SHAPES.len() - 1) % 2 == n;
            let stops = [Stop::Drop, Stop::Cut].into_iter().enumerate();
            let wanted = stops.filter(|(n, _)| shape == 0 || is_exhaustive() || in_turn(*n));
            cases.extend(wanted.map(|(_, stop)| (undisturbed, spot, stop)));
        }
    }
    let trial = Trial { what: "crash sweep".to_owned(), missed_max: cases.len() / 20 };
    let named = |(undisturbed, spot, stop): &(&Undisturbed, &Spot, Stop)| {
        (format!("{}: {spot} ({stop:?})", undisturbed.shape.name), spot.kind().to_owned())
    };
    try_all(&trial, &cases, named, |(undisturbed, spot, stop)| {
        on_a_paused_clock(stopped_once(undisturbed, spot, *stop))
    });
}
