//! What a target folder keeps of flags, as far as it has told or shown: what is sent to it, and in which ways a message is
//! tried that it refused.
//!
//! Three sorts of flags are not sent: those its PERMANENTFLAGS leave out, those a STORE was refused over, and, with an
//! APPEND alone, the suspects: left out of one that went through after another was refused. Suspects are stored
//! afterwards, one by one where need be, which shows the guilty one and costs no other.

use crate::mail::{Flags, InternalDate};

/// What is known of one target folder.
#[derive(Debug, Clone, Default)]
pub struct Keeping {
    /// PERMANENTFLAGS, and whether new keywords are kept too; None: untold.
    told: Option<(Flags, bool)>,
    /// Refused one by one, with the target's words.
    refused: Vec<(Flags, String)>,
    suspects: Flags,
    /// The words that made them suspect.
    suspicion: String,
}

impl Keeping {
    /// Takes PERMANENTFLAGS (RFC 9051, 7.1). An empty list says nothing: a folder that is open read-only has one.
    pub fn tell(&mut self, flags: &Flags, any_keyword: bool) {
        if any_keyword || !flags.is_empty() {
            self.told = Some((flags.clone(), any_keyword));
        }
    }

    /// Says whether PERMANENTFLAGS are known.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// Notes that a single flag was refused.
    pub fn refuse(&mut self, flag: &Flags, words: String) {
        if !flag.without(&self.refused()).is_empty() {
            self.refused.push((flag.clone(), words));
        }
    }

    /// Notes the keywords that a message had to go without.
    pub fn suspect(&mut self, left_out: &Flags, words: String) {
        self.suspects = self.suspects.union(&left_out.keywords_only(|_| true));
        self.suspicion = words;
    }

    fn refused(&self) -> Flags {
        self.refused.iter().fold(Flags::default(), |all, (flag, _)| all.union(flag))
    }

    fn untold(&self, flags: &Flags) -> Flags {
        let Some((kept, any_keyword)) = &self.told else { return Flags::default() };
        let lost = flags.without(kept);
        if *any_keyword { lost.system_only() } else { lost }
    }

    /// Gives what can be stored: the rest is lost, and [`Self::why`] tells why.
    #[must_use]
    pub fn storable(&self, flags: &Flags) -> Flags {
        flags.without(&self.untold(flags)).without(&self.refused())
    }

    /// Gives what is left of flags without the suspects: these are stored afterwards.
    #[must_use]
    pub fn unsuspected(&self, flags: &Flags) -> Flags {
        flags.without(&self.suspects)
    }

    /// Tells why the target has not kept a single flag.
    #[must_use]
    pub fn why(&self, flag: &Flags) -> String {
        let holds = |all: &Flags| !all.common(flag).is_empty();
        if let Some((_, words)) = self.refused.iter().find(|(refused, _)| holds(refused)) {
            return format!("refused by the target ({words})");
        }
        if holds(&self.untold(flag)) {
            return "the target's folder keeps no such flag, as its PERMANENTFLAGS say".to_owned();
        }
        if holds(&self.suspects) {
            return format!("the target did not keep it, and refused a message with it ({})", self.suspicion);
        }
        "the target did not keep it".to_owned()
    }
}

/// One way to send a message that was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Flags that stay out.
    pub without: Flags,
    /// The date stays out.
    pub without_date: bool,
}

/// Gives the ways in which a refused message is tried, the most faithful first: at most six.
///
/// `flags`, `date`: as they were sent. `bad`: the command was called wrong, so its date may be what is wrong with it.
#[must_use]
pub fn attempts(flags: &Flags, date: Option<InternalDate>, bad: bool) -> Vec<Attempt> {
    let odd = flags.keywords_only(|keyword| !keyword.is_plain());
    let keywords = flags.keywords_only(|_| true);
    let leave = |without: &Flags, without_date| Attempt { without: without.clone(), without_date };
    let mut all = vec![Attempt::default()];
    all.extend([&odd, &keywords, flags].map(|without| leave(without, false)));
    if date.is_some_and(|date| bad || !date.is_usual()) {
        all.extend([&Flags::default(), flags].map(|without| leave(without, true)));
    }
    let mut known: Vec<Attempt> = Vec::new();
    for attempt in all {
        if !known.contains(&attempt) {
            known.push(attempt);
        }
    }
    known
}

/// Gives flags that fit into so many bytes of a command line: system flags first, then keywords as they come.
#[must_use]
pub fn fitting(flags: &Flags, bytes: usize) -> Flags {
    flags.parts(bytes).into_iter().next().unwrap_or_default()
}

/// Says whether a message with these can be sent without waiting for the target's leave: whatever it is told, it can read.
#[must_use]
pub fn is_sure(flags: &Flags, date: Option<InternalDate>) -> bool {
    date.is_none_or(InternalDate::is_usual) && flags.keywords().all(crate::mail::Keyword::is_atom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::SystemFlag;

    fn flags(text: &str) -> Flags {
        Flags::parse(text)
    }

    #[test]
    fn f36_permanent_flags_decide_what_is_sent_and_an_empty_list_says_nothing() {
        let all = "\\Seen \\Draft $Label Junk";
        for (permanent, any_keyword, sent) in [
            ("", false, all),
            ("", true, "$Label Junk"),
            ("\\Seen \\Draft", true, all),
            ("\\Seen \\Draft", false, "\\Seen \\Draft"),
            ("\\Seen junk", false, "\\Seen Junk"),
            ("\\Seen", true, "\\Seen $Label Junk"),
        ] {
            let mut keeping = Keeping::default();
            keeping.tell(&flags(permanent), any_keyword);
            assert_eq!(keeping.storable(&flags(all)).to_string(), sent, "{permanent} {any_keyword}");
        }
        assert_eq!(Keeping::default().storable(&flags(all)).to_string(), all);
    }

    #[test]
    fn f34_what_was_refused_is_told_with_the_words_and_costs_no_other() {
        let mut keeping = Keeping::default();
        keeping.tell(&flags("\\Seen"), true);
        keeping.suspect(&flags("a.b c.d"), "BAD Parse Error".to_owned());
        assert_eq!(keeping.unsuspected(&flags("\\Seen A.B e")).to_string(), "\\Seen e");
        assert_eq!(keeping.storable(&flags("a.b c.d")).to_string(), "a.b c.d", "a suspect is stored all the same");
        keeping.refuse(&flags("a.b"), "NO that one".to_owned());
        assert_eq!(keeping.storable(&flags("A.b c.d")).to_string(), "c.d");
        assert_eq!(keeping.why(&flags("A.B")), "refused by the target (NO that one)");
        assert!(keeping.why(&flags("c.d")).contains("BAD Parse Error"));
        assert!(keeping.why(&flags("\\Draft")).contains("PERMANENTFLAGS"));
        assert_eq!(keeping.why(&flags("e")), "the target did not keep it");
    }

    #[test]
    fn a_refused_message_is_tried_in_few_ways_and_each_once() {
        let usual = InternalDate::new(1_000_000_000, 0);
        let odd = InternalDate::new(-5, 0);
        for (sent, date, bad, ways) in [
            ("", None, true, vec!["-"]),
            ("", usual, false, vec!["-"]),
            ("", usual, true, vec!["-", "date"]),
            ("", odd, false, vec!["-", "date"]),
            ("\\Seen", usual, false, vec!["-", "\\Seen"]),
            ("a.b", usual, false, vec!["-", "a.b"]),
            ("\\Seen a.b Junk", usual, false, vec!["-", "a.b", "a.b Junk", "\\Seen a.b Junk"]),
            ("a.b Junk", odd, false, vec!["-", "a.b", "a.b Junk", "date", "a.b Junk date"]),
        ] {
            let show = |attempt: &Attempt| {
                let date = if attempt.without_date { "date" } else { "" };
                match format!("{} {date}", attempt.without).trim() {
                    "" => "-".to_owned(),
                    text => text.to_owned(),
                }
            };
            let found: Vec<String> = attempts(&flags(sent), date, bad).iter().map(show).collect();
            assert_eq!(found, ways, "{sent} {date:?} {bad}");
        }
    }

    #[test]
    fn only_what_any_server_can_read_goes_without_leave() {
        let usual = InternalDate::new(1_000_000_000, 0);
        for (sent, date, sure) in [
            ("\\Seen domain.com", usual, true),
            ("a]b", usual, false),
            ("", InternalDate::new(-1, 0), false),
            ("", InternalDate::new(2_145_916_800, 0), false),
            ("", None, true),
        ] {
            assert_eq!(is_sure(&flags(sent), date), sure, "{sent} {date:?}");
        }
    }

    #[test]
    fn f38_more_keywords_than_a_line_holds_are_cut_and_system_flags_stay() {
        let many: String = (0..300).map(|number| format!("keyword-of-some-length-{number} ")).collect();
        let kept = fitting(&flags(&format!("{many}\\Seen")), 4000);
        assert!(kept.has(SystemFlag::Seen) && kept.to_string().len() <= 4000 && kept.keywords().count() > 100);
    }
}
