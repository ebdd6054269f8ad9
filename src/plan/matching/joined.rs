//! What matching came to, of as many messages as a folder can have.

use super::{Claim, Match, Matched};
use crate::mail::{Evidence, Uid, Uids};
use crate::rows::{Row, Rows, Sorting};

const CLAIMS: [Claim; 4] = [Claim::Acknowledged, Claim::Intended, Claim::Displaced, Claim::New];
const EVIDENCE: [Evidence; 5] =
    [Evidence::None, Evidence::Counted, Evidence::MetadataEqual, Evidence::BytesEqual, Evidence::BytesAltered];

impl Row for Match {
    const BYTES: usize = 10;

    fn pack(&self, to: &mut [u8]) {
        (self.source_uid, self.target_uid).pack(&mut to[..8]);
        (to[8], to[9]) = (self.claim as u8, self.evidence as u8);
    }

    fn unpack(from: &[u8]) -> Option<Self> {
        let (source_uid, target_uid) = Row::unpack(&from[..8])?;
        let (claim, evidence) = (CLAIMS.get(usize::from(from[8])), EVIDENCE.get(usize::from(from[9])));
        Some(Self { source_uid, target_uid, claim: *claim?, evidence: *evidence? })
    }
}

/// What matching a folder came to.
#[derive(Debug, Default)]
pub struct Joined {
    /// Found, by source UID.
    pub found: Rows<Match>,
    /// Not on the target, with how they claimed: those of which something was known.
    pub absent: Vec<(Uid, Claim)>,
    /// And those of which nothing was.
    pub new: Uids,
    /// Target messages that nobody claimed.
    pub surplus: Uids,
    /// See [`Matched::doubles`].
    pub doubles: Vec<(Uid, Uid)>,
}

/// The same in the making.
#[derive(Debug, Default)]
pub struct Joining {
    found: Sorting<Match>,
    absent: Vec<(Uid, Claim)>,
    new: Sorting<Uid>,
    surplus: Sorting<Uid>,
    doubles: Vec<(Uid, Uid)>,
}

impl Joining {
    /// Tells of one that was found.
    pub fn found(&mut self, found: Match) {
        self.found.push(found);
    }

    /// Tells of one that is not on the target.
    pub fn absent(&mut self, uid: Uid, claim: Claim) {
        match claim {
            Claim::New => self.new.push(uid),
            _ => self.absent.push((uid, claim)),
        }
    }

    /// Tells of a target message that nobody claims.
    pub fn surplus(&mut self, uid: Uid) {
        self.surplus.push(uid);
    }

    /// Takes over what was decided of some.
    pub fn extend(&mut self, matched: Matched) {
        self.found.extend(matched.found);
        matched.absent.into_iter().for_each(|(uid, claim)| self.absent(uid, claim));
        self.surplus.extend(matched.surplus);
        self.doubles.extend(matched.doubles);
    }

    /// Gives all of it.
    #[must_use]
    pub fn finish(self) -> Joined {
        let Self { found, mut absent, new, surplus, doubles } = self;
        absent.sort_unstable();
        Joined { found: found.finish(), absent, new: new.into(), surplus: surplus.into(), doubles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_is_what_was_packed() {
        for (claim, evidence) in CLAIMS.into_iter().flat_map(|claim| EVIDENCE.map(|evidence| (claim, evidence))) {
            let one = Match { source_uid: Uid::LAST, target_uid: Uid::FIRST, claim, evidence };
            let mut bytes = [0; Match::BYTES];
            one.pack(&mut bytes);
            assert_eq!(Match::unpack(&bytes), Some(one));
        }
    }
}
