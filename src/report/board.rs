//! What a terminal shows of a run at one instant: pure, from events and a clock to lines.
//!
//! Invariants: at most as many lines as the terminal has rows, each at most as wide; a message counts as done once.

use super::words::{bytes, clean, count, counted, span, stamp};
use crate::mail::Side;
use crate::transfer::{Ending, Event};
use console::{measure_text_width, pad_str, truncate_str};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The time over which a rate is taken: long enough to be steady, short enough to notice a stall.
const RATE_OVER: Duration = Duration::from_secs(15);
/// Between two samples of a rate.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// The least that is worth saying of a time that will grow.
const BOUND_MIN: Duration = Duration::from_secs(10);
const NAME_WIDTH_MAX: usize = 32;
const FOLDER_WIDTH: usize = 20;
const BAR_WIDTH: usize = 10;

/// Everything that is shown.
pub(super) struct Board {
    accounts: usize,
    /// In the order in which they began.
    running: Vec<Row>,
    ended: BTreeMap<Ending, u64>,
    /// Of accounts that have ended.
    before: Sum,
    rate: Rate,
    copied: Sum,
}

/// One account that is worked on.
struct Row {
    name: String,
    /// None: not known yet.
    folders: Option<usize>,
    folders_known: usize,
    folder: String,
    /// Of folders that are worked on: what of them is copied.
    open: HashMap<String, Sum>,
    done: Sum,
    /// By what has been planned so far.
    total: Sum,
    waits: Option<Wait>,
    rate: Rate,
}

enum Wait {
    /// Until then, for which side, and why.
    Until(Instant, Side, String),
    /// The host is down since then.
    Outage(String, Side, String),
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    messages: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Board {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            accounts: 0,
            running: Vec::new(),
            ended: BTreeMap::new(),
            before: Sum::default(),
            rate: Rate::new(now),
            copied: Sum::default(),
        }
    }

    pub(super) fn tell(&mut self, event: &Event, now: Instant) {
        match event {
            Event::JobStarted { accounts, .. } => *self = Self { accounts: *accounts, ..Self::new(now) },
            Event::AccountStarted { account } => drop(self.row(account, now)),
            Event::FoldersMapped { account, folders, .. } => {
                let row = self.row(account, now);
                row.folders = Some(*folders);
                row.waits = None;
            }
            Event::FolderPlanned { account, folder, to_copy, bytes, .. } => {
                self.row(account, now).planned(folder, *to_copy, *bytes);
            }
            Event::Copied { account, folder, messages, bytes } => {
                self.row(account, now).copied(folder, *messages, *bytes, now);
                self.copied.add(*messages, *bytes);
                self.rate.sample(self.copied, now);
            }
            Event::Waiting { account, side, seconds, why } => {
                let until = now + Duration::from_secs(*seconds);
                self.row(account, now).waits = Some(Wait::Until(until, *side, clean(why)));
            }
            Event::Unreachable { account, side, since, why } => {
                self.row(account, now).waits = Some(Wait::Outage(stamp(*since), *side, clean(why)));
            }
            Event::Reachable { account, .. } => self.row(account, now).waits = None,
            Event::FolderDone { account, folder, .. } | Event::FolderFailed { account, folder, .. } => {
                self.row(account, now).folder_ended(folder);
            }
            Event::AccountDone { account, ending, .. } => {
                *self.ended.entry(*ending).or_default() += 1;
                if let Some(at) = self.running.iter().position(|row| row.name == *account) {
                    let row = self.running.remove(at);
                    self.before.add(row.done.messages, row.done.bytes);
                }
            }
            Event::FolderRenamed { .. }
            | Event::MessageFailed { .. }
            | Event::MessageChanged { .. }
            | Event::Surplus { .. }
            | Event::JobDone { .. } => {}
        }
    }

    fn row(&mut self, account: &str, now: Instant) -> &mut Row {
        let at = self.running.iter().position(|row| row.name == account).unwrap_or_else(|| {
            self.running.push(Row::new(account, now));
            self.running.len() - 1
        });
        &mut self.running[at]
    }

    /// Gives what is to be seen now: accounts, the last line for all together.
    pub(super) fn lines(&self, now: Instant, (rows, width): (usize, usize)) -> Vec<String> {
        if self.accounts == 0 {
            return Vec::new();
        }
        // One row stays free for the cursor.
        let places = rows.saturating_sub(2).max(1);
        let shown = if self.running.len() > places { places - 1 } else { self.running.len() };
        let name_width = self.running.iter().take(shown).map(|row| measure_text_width(&clean(&row.name)));
        let name_width = name_width.max().unwrap_or(0).min(NAME_WIDTH_MAX);
        let mut lines: Vec<String> = self.running.iter().take(shown).map(|row| row.line(now, name_width)).collect();
        let (_, others) = self.running.split_at(shown);
        if !others.is_empty() {
            let waiting = others.iter().filter(|row| row.waits.is_some()).count();
            let more = counted(others.len() as u64, "more account");
            lines.push(if waiting == 0 { format!("… {more}") } else { format!("… {more}, {waiting} waiting") });
        }
        lines.push(self.total(now));
        // The last column makes some terminals begin a new line.
        let width = width.saturating_sub(1).max(1);
        lines.iter().map(|line| truncate_str(line, width, "…").into_owned()).collect()
    }

    fn total(&self, now: Instant) -> String {
        let ended: u64 = self.ended.values().sum();
        let mut parts = vec![format!("{ended} of {} done", counted(self.accounts as u64, "account"))];
        if let Some(failed) = self.ended.get(&Ending::Failed) {
            parts.push(format!("{failed} failed"));
        }
        let sum = |each: fn(&Row) -> Sum, before: Sum| {
            self.running.iter().map(each).fold(before, |mut sum, next| {
                sum.add(next.messages, next.bytes);
                sum
            })
        };
        let done = sum(|row| row.done, self.before);
        let total = sum(|row| row.total, self.before);
        let known = ended + self.running.len() as u64 == self.accounts as u64 && self.running.iter().all(Row::is_known);
        parts.push(progress(done, total, &self.rate, known, now));
        parts.join("  ")
    }
}

impl Row {
    fn new(name: &str, now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            folders: None,
            folders_known: 0,
            folder: String::new(),
            open: HashMap::new(),
            done: Sum::default(),
            total: Sum::default(),
            waits: None,
            rate: Rate::new(now),
        }
    }

    fn planned(&mut self, folder: &str, to_copy: u64, bytes: u64) {
        self.waits = None;
        folder.clone_into(&mut self.folder);
        // A pass that broke is planned again, for what is left: what was planned before and not done is taken back.
        if let Some(left) = self.open.get(folder) {
            self.total.messages = self.total.messages.saturating_sub(left.messages);
            self.total.bytes = self.total.bytes.saturating_sub(left.bytes);
        } else {
            self.folders_known += 1;
        }
        self.total.add(to_copy, bytes);
        self.open.insert(folder.to_owned(), Sum { messages: to_copy, bytes });
    }

    fn copied(&mut self, folder: &str, messages: u64, bytes: u64, now: Instant) {
        self.waits = None;
        folder.clone_into(&mut self.folder);
        self.done.add(messages, bytes);
        if let Some(left) = self.open.get_mut(folder) {
            left.messages = left.messages.saturating_sub(messages);
            left.bytes = left.bytes.saturating_sub(bytes);
        }
        self.rate.sample(self.done, now);
    }

    fn folder_ended(&mut self, folder: &str) {
        self.waits = None;
        match self.open.remove(folder) {
            // What was planned and is refused or given up is not waited for.
            Some(left) => {
                self.total.messages = self.total.messages.saturating_sub(left.messages);
                self.total.bytes = self.total.bytes.saturating_sub(left.bytes);
            }
            None => self.folders_known += 1,
        }
    }

    /// Every folder has been planned: the total will not grow.
    fn is_known(&self) -> bool {
        self.folders.is_some_and(|folders| self.folders_known >= folders)
    }

    fn line(&self, now: Instant, name_width: usize) -> String {
        let name = clean(&self.name);
        let name = pad_str(&name, name_width, console::Alignment::Left, Some("…")).into_owned();
        if let Some(wait) = &self.waits {
            return match wait {
                Wait::Until(until, side, why) => {
                    let left = span(until.saturating_duration_since(now));
                    format!("{name}  waiting {left} for the {side}: {why}")
                }
                Wait::Outage(since, side, why) => format!("{name}  {side} unreachable since {since}: {why}"),
            };
        }
        let Some(folders) = self.folders else { return format!("{name}  signing in") };
        if self.folder.is_empty() {
            return format!("{name}  looking at {}", counted(folders as u64, "folder"));
        }
        let folder = clean(&self.folder);
        let folder = pad_str(&folder, FOLDER_WIDTH, console::Alignment::Left, Some("…")).into_owned();
        let bar = bar(self.done.messages, self.total.messages);
        let rest = progress(self.done, self.total, &self.rate, self.is_known(), now);
        format!("{name}  {folder}  {bar} {rest}")
    }
}

fn bar(done: u64, total: u64) -> String {
    let share = if total == 0 { 1.0 } else { (done as f64 / total as f64).min(1.0) };
    let full = (share * BAR_WIDTH as f64) as usize;
    let head = if full < BAR_WIDTH { ">" } else { "" };
    format!("[{:<BAR_WIDTH$}]", format!("{}{head}", "=".repeat(full)))
}

/// Says how far something is, how fast it goes and how long it will take. `known`: the total will not grow.
fn progress(done: Sum, total: Sum, rate: &Rate, known: bool, now: Instant) -> String {
    let mut text = format!("{}/{}", count(done.messages), count(total.messages));
    let Some((messages, size)) = rate.per_second(now) else { return text };
    text.push_str(&format!("  {messages:.1}/s  {}/s", bytes(size as u64)));
    let left = total.messages.saturating_sub(done.messages);
    if left > 0 && messages > 0.0 {
        let time = Duration::try_from_secs_f64(left as f64 / messages).unwrap_or(Duration::MAX);
        match known {
            true => text.push_str(&format!("  {} left", span(time))),
            // A lower bound near nothing says nothing.
            false if time >= BOUND_MIN => text.push_str(&format!("  over {} left", span(time))),
            false => {}
        }
    }
    text
}

/// How fast something goes, over the last while.
struct Rate {
    /// Never empty; the sums at these instants.
    samples: VecDeque<(Instant, Sum)>,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self { samples: [(now, Sum::default())].into() }
    }

    fn sample(&mut self, sum: Sum, now: Instant) {
        while self.samples.len() > 1 && now.saturating_duration_since(self.samples[1].0) > RATE_OVER {
            self.samples.pop_front();
        }
        let last = self.samples.len() - 1;
        // The first one is where counting begins; the last one is moved on until it is old enough to stay.
        if last > 0 && self.samples[last].0.saturating_duration_since(self.samples[last - 1].0) < SAMPLE_EVERY {
            self.samples[last] = (now, sum);
        } else {
            self.samples.push_back((now, sum));
        }
    }

    /// Gives messages and bytes a second; None where too little is known.
    fn per_second(&self, now: Instant) -> Option<(f64, f64)> {
        let ((from, before), (_, after)) = (self.samples.front()?, self.samples.back()?);
        let time = now.saturating_duration_since(*from).as_secs_f64();
        let enough = self.samples.len() > 1 && time >= 1.0;
        let per_second = |after: u64, before: u64| after.saturating_sub(before) as f64 / time;
        enough.then(|| (per_second(after.messages, before.messages), per_second(after.bytes, before.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::story;

    const WIDE: (usize, usize) = (24, 120);

    fn begun(accounts: usize, now: Instant) -> Board {
        let mut board = Board::new(now);
        board.tell(&Event::JobStarted { job: "acme".into(), accounts }, now);
        board
    }

    #[test]
    fn a_terminal_shows_where_each_account_is() {
        let mut now = Instant::now();
        let mut board = Board::new(now);
        let mut seen = String::new();
        for (at, event) in story().into_iter().enumerate() {
            board.tell(&event, now);
            now += Duration::from_secs(2);
            // In between nothing but the time goes on.
            if !(9..14).contains(&at) {
                seen.push_str(&format!("{}\n--\n", board.lines(now, WIDE).join("\n")));
            }
        }
        insta::assert_snapshot!(seen, @"
        0 of 2 accounts done  0/0
        --
        info@acme.example  signing in
        0 of 2 accounts done  0/0
        --
        info@acme.example   signing in
        sales@acme.example  signing in
        0 of 2 accounts done  0/0
        --
        info@acme.example   looking at 2 folders
        sales@acme.example  signing in
        0 of 2 accounts done  0/0
        --
        info@acme.example   INBOX                 [>         ] 0/1,204
        sales@acme.example  signing in
        0 of 2 accounts done  0/1,204
        --
        info@acme.example   INBOX                 [>         ] 0/1,204
        sales@acme.example  waiting 40s for the source: connect to a:993: refused
        0 of 2 accounts done  0/1,204
        --
        info@acme.example   INBOX                 [>         ] 100/1,204  8.3/s  813.8 KiB/s  over 2m 12s left
        sales@acme.example  waiting 38s for the source: connect to a:993: refused
        0 of 2 accounts done  100/1,204  7.1/s  697.5 KiB/s  over 2m 34s left
        --
        info@acme.example   INBOX                 [=>        ] 200/1,204  14.3/s  1.4 MiB/s  over 1m 10s left
        sales@acme.example  waiting 36s for the source: connect to a:993: refused
        0 of 2 accounts done  200/1,204  12.5/s  1.2 MiB/s  over 1m 20s left
        --
        info@acme.example   INBOX                 [==>       ] 300/1,204  18.8/s  1.8 MiB/s  over 48s left
        sales@acme.example  waiting 34s for the source: connect to a:993: refused
        0 of 2 accounts done  300/1,204  16.7/s  1.6 MiB/s  over 54s left
        --
        sales@acme.example  waiting 22s for the source: connect to a:993: refused
        1 of 2 accounts done  300/300  10.0/s  976.6 KiB/s
        --
        2 of 2 accounts done  1 failed  300/300  9.4/s  915.5 KiB/s
        --
        2 of 2 accounts done  1 failed  300/300  8.8/s  861.7 KiB/s
        --
        ");
    }

    #[test]
    fn what_does_not_fit_is_summed_up() {
        let now = Instant::now();
        let mut board = begun(40, now);
        for number in 0..8 {
            board.tell(&Event::AccountStarted { account: format!("user{number}@example.org") }, now);
        }
        let why = "connect".to_owned();
        let wait = Event::Waiting { account: "user7@example.org".into(), side: Side::Target, seconds: 9, why };
        board.tell(&wait, now);
        insta::assert_snapshot!(board.lines(now, (6, 30)).join("\n"), @"
        user0@example.org  signing in
        user1@example.org  signing in
        user2@example.org  signing in
        … 5 more accounts, 1 waiting
        0 of 40 accounts done  0/0
        ");
        for rows in 1..20 {
            let lines = board.lines(now, (rows, 30));
            assert!(lines.len() <= rows.saturating_sub(1).max(2), "{rows}: {lines:?}");
            assert!(lines.iter().all(|line| measure_text_width(line) < 30), "{lines:?}");
        }
    }

    #[test]
    fn an_outage_is_shown_with_its_begin_until_it_is_over() {
        let now = Instant::now();
        let mut board = begun(1, now);
        let since = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        let (account, why) = (|| "a@b.example".to_owned(), "connect to a:993: nobody listens".to_owned());
        board.tell(&Event::Unreachable { account: account(), side: Side::Source, since, why }, now);
        let shown = |board: &Board, now| board.lines(now, (9, 120))[0].clone();
        let expected = "a@b.example  source unreachable since 2026-01-02T03:04:05Z: connect to a:993: nobody listens";
        assert_eq!(shown(&board, now + Duration::from_secs(3600)), expected);
        board.tell(&Event::Reachable { account: account(), side: Side::Source }, now);
        assert_eq!(shown(&board, now), "a@b.example  signing in");
    }

    #[test]
    fn a_folder_planned_again_counts_what_is_left_once() {
        let now = Instant::now();
        let mut board = begun(1, now);
        let plan = |to_copy| Event::FolderPlanned {
            account: "a".into(),
            folder: "INBOX".into(),
            messages: 100,
            to_copy,
            bytes: to_copy,
        };
        board.tell(&plan(100), now);
        board.tell(&Event::Copied { account: "a".into(), folder: "INBOX".into(), messages: 40, bytes: 40 }, now);
        board.tell(&plan(60), now);
        let row = board.row("a", now);
        assert_eq!((row.done.messages, row.total.messages, row.folders_known), (40, 100, 1));
        row.folder_ended("INBOX");
        assert_eq!((row.done.messages, row.total.messages, row.folders_known), (40, 40, 1));
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        assert_eq!(rate.per_second(now + RATE_OVER), None);
        for second in 1..=60 {
            now += Duration::from_secs(1);
            let speed = if second <= 30 { 100 } else { 10 };
            let before = rate.samples.back().map_or(0, |(_, sum)| sum.messages);
            rate.sample(Sum { messages: before + speed, bytes: 0 }, now);
        }
        let (messages, _) = rate.per_second(now).unwrap();
        assert!((9.0..11.0).contains(&messages), "{messages}");
        assert!(rate.samples.len() <= 17);
    }
}
