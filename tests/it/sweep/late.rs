//! What arrives when nobody waits for it any more, and what arrives in part: the second copy is taken away where it is
//! ours beyond doubt, else it is told; of a part there is the whole beside it, and the part is told.

use super::crash::{Undisturbed, same};
use super::world::{Left, SHAPES, Shape, World, everybody_waits};
use super::{Trial, Tried, is_exhaustive, on_a_paused_clock, try_all};
use crate::support::haul::Ran;
use mailhaul_testserver::{Act, Held, Nth, Point};

/// Runs after which all must be well.
const RUNS_MAX: usize = 3;

/// When a message is stored whose connection is long gone, told by what the target is asked for just then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before anybody looks.
    AtOnce,
    /// Somebody has looked, and looks once more since nothing may have settled yet.
    WhileItSettles,
    /// It was sent again; the pass goes on to prove what it has done.
    SentAgain,
    /// The pass has listed everything and ends.
    Proven,
    /// The next folder is opened.
    InTheNextFolder,
    /// Everything is done, and the program takes its leave.
    AtTheEnd,
    /// Nobody is there.
    AfterTheRun,
}

impl When {
    const ALL: [Self; 7] = [
        Self::AtOnce,
        Self::WhileItSettles,
        Self::SentAgain,
        Self::Proven,
        Self::InTheNextFolder,
        Self::AtTheEnd,
        Self::AfterTheRun,
    ];

    fn gate(self) -> Option<(Point, u64)> {
        match self {
            Self::AtOnce | Self::AfterTheRun => None,
            Self::WhileItSettles => Some((Point::command("EXAMINE"), 2)),
            Self::SentAgain => Some((Point::command("EXAMINE"), 3)),
            Self::Proven => Some((Point::command("STATUS"), 1)),
            Self::InTheNextFolder => Some((Point::command("EXAMINE"), 4)),
            Self::AtTheEnd => Some((Point::command("LOGOUT"), 1)),
        }
    }

    /// Lets the message in when it is time.
    async fn let_in(self, world: &World, withheld: &Held) {
        if self == Self::AfterTheRun {
            return;
        }
        let gate = self.gate().map(|(point, nth)| world.target.faults().hold(point, Nth::Only(nth)));
        if let Some(gate) = &gate {
            gate.reached().await;
        }
        withheld.release();
        everybody_waits().await;
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    append: u64,
    when: When,
    /// The run that sent it is dropped in that moment.
    stopped: bool,
}

/// Gives what is there beyond what is expected, and what lacks.
fn beyond(left: &Left, expected: &Left) -> (usize, usize) {
    let count = |one: &Left, other: &Left| -> usize {
        let items = one.mail.iter().flat_map(|(folder, items)| items.iter().map(move |item| (folder, item)));
        let other = |folder, item| other.mail.get(folder).and_then(|items| items.get(item)).copied().unwrap_or(0);
        items.map(|(folder, (item, count))| count.saturating_sub(other(folder, item))).sum()
    };
    (count(left, expected), count(expected, left))
}

fn tells_of(ran: &Ran, what: &str) -> bool {
    ran.events
        .iter()
        .map(|event| format!("{event:?}"))
        .any(|event| event.starts_with("Surplus") && event.contains(what))
}

async fn arrives_late(undisturbed: &Undisturbed, case: &Case) -> Result<Tried, String> {
    let world = World::new(&undisturbed.shape);
    let withheld = world.target.faults().withhold(Nth::Only(case.append));
    if case.stopped {
        tokio::select! {
            biased;
            () = withheld.reached() => {}
            ran = world.run() => return Err(format!("it ended: {:#?}", ran.end)),
        }
        everybody_waits().await;
    }
    let director = async {
        withheld.reached().await;
        case.when.let_in(&world, &withheld).await;
    };
    // A gate that is never come to must not hold up the test.
    let run = async {
        let ran = world.run().await;
        everybody_waits().await;
        ran
    };
    tokio::pin!(director);
    let mut reached = false;
    let mut ran = tokio::select! {
        ran = run => ran,
        ran = async { (&mut director).await; reached = true; std::future::pending::<Ran>().await } => ran,
    };
    reached |= case.when == When::AfterTheRun;
    withheld.release();
    everybody_waits().await;
    let mut told = tells_of(&ran, "Copy");
    for _ in 0..RUNS_MAX {
        ran = world.run().await;
        told |= tells_of(&ran, "Copy");
    }
    let left = world.left(&ran);
    let (surplus, lacking) = beyond(&left, &undisturbed.left[0]);
    let early = matches!(case.when, When::AtOnce | When::WhileItSettles);
    let allowed = if early || undisturbed.shape.has_uidplus() { 0 } else { undisturbed.shape.together() };
    if lacking > 0 || surplus > allowed || surplus > 0 && !told {
        let differences = left.differences(&undisturbed.left[0]);
        return Err(format!("{surplus} too many, told: {told}:\n{differences}{}", world.story()));
    }
    Ok(if reached { Tried::Reached } else { Tried::NotReached })
}

/// On these nothing happens side by side, so that a gate stands where it is meant to.
fn shapes() -> Vec<Shape> {
    let wanted = if is_exhaustive() { &[0, 2, 3, 5][..] } else { &[0, 3][..] };
    wanted.iter().map(|at| SHAPES[*at]).collect()
}

#[test]
fn what_is_stored_late_is_not_there_twice() {
    let all: Vec<Undisturbed> = shapes().into_iter().map(Undisturbed::of).collect();
    let mut cases = Vec::new();
    for undisturbed in &all {
        for append in 1..=undisturbed.shape.appends() {
            let whens = When::ALL.into_iter().flat_map(|when| [false, true].map(|stopped| (when, stopped)));
            cases.extend(whens.map(|(when, stopped)| (undisturbed, Case { append, when, stopped })));
        }
    }
    let named = |(undisturbed, case): &(&Undisturbed, Case)| {
        (format!("{}: {case:?}", undisturbed.shape.name), format!("{:?}", case.when))
    };
    let trial = Trial { what: "late commits".to_owned(), missed_max: cases.len() / 10 };
    try_all(&trial, &cases, named, |(undisturbed, case)| on_a_paused_clock(arrives_late(undisturbed, case)));
}

async fn arrives_in_part(undisturbed: &Undisturbed, append: u64, act: &Act) -> Result<Tried, String> {
    let world = World::new(&undisturbed.shape);
    let rule = world.target.faults().add(Point::command("APPEND"), Nth::Only(append), act.clone());
    let mut told = false;
    let mut ran = None;
    for _ in 0..=RUNS_MAX {
        let one = world.run().await;
        told |= tells_of(&one, "Remnant");
        ran = Some(one);
    }
    let fired = world.target.faults().fired(rule) > 0;
    let left = ran.map(|ran| world.left(&ran)).unwrap_or_default();
    let (surplus, lacking) = beyond(&left, &undisturbed.left[0]);
    if lacking > 0 || surplus > undisturbed.shape.together() || surplus > 0 && !told {
        let differences = left.differences(&undisturbed.left[0]);
        return Err(format!("{surplus} too many, told: {told}:\n{differences}{}", world.story()));
    }
    same(&Left { mail: left.mail.clone(), ..world.settled().await? }, &left, "after a further run")?;
    Ok(if fired { Tried::Reached } else { Tried::NotReached })
}

#[test]
fn of_what_arrives_in_part_there_is_the_whole_and_the_part_is_told() {
    let all: Vec<Undisturbed> = shapes().into_iter().map(Undisturbed::of).collect();
    let mut cases = Vec::new();
    for undisturbed in &all {
        for append in 1..=undisturbed.appends() {
            let acts = [("stored in part, then cut", Act::CommitHalf), ("kept in part", Act::KeepHalf)];
            cases.extend(acts.map(|act| (undisturbed, append, act)));
        }
    }
    let named = |(undisturbed, append, (what, _)): &(&Undisturbed, u64, (&str, Act))| {
        (format!("{}: APPEND #{append}, {what}", undisturbed.shape.name), (*what).to_owned())
    };
    // What is refused is not stored in part.
    let trial = Trial { what: "parts of messages".to_owned(), missed_max: 4 * all.len() };
    try_all(&trial, &cases, named, |(undisturbed, append, (_, act))| {
        on_a_paused_clock(arrives_in_part(undisturbed, *append, act))
    });
}
