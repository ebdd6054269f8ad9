//! One end of every account: its server from what account, section, provider and defaults say, and who signs in.
//!
//! A key of the account comes before the same key of its side's section, and that before the default. A provider named
//! by the account takes the place of the section's server altogether; a host named by the account that of the section's
//! provider. What a provider says lies between what is written and the defaults.

use super::context::{io_hint, io_text};
use super::error::{Error, Fault, Place, shown};
use super::host::is_loopback;
use super::meaning::Warnings;
use super::raw::{self, Form, Server};
use super::reader::{Given, Written};
use super::{Account, Context, Mailbox};
use crate::auth::{Credential, SecretSource, SignIn};
use crate::mail::Side;
use crate::net::{Endpoint, Tls, Trust};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Reads one side of all accounts.
pub(super) struct Mailboxes<'a> {
    side: Side,
    section: &'a Server,
    defaults: &'a Server,
    context: &'a Context,
    /// Where the secrets stand that were looked at: one for all accounts is looked at once.
    secrets: HashSet<Place>,
    certificates: HashMap<PathBuf, Option<Fault>>,
}

impl<'a> Mailboxes<'a> {
    pub(super) fn new(side: Side, section: &'a Server, defaults: &'a Server, context: &'a Context) -> Self {
        Self { side, section, defaults, context, secrets: HashSet::new(), certificates: HashMap::new() }
    }

    /// Gives an account's mailbox on this side; None with errors noted.
    pub(super) fn mailbox(
        &mut self,
        account: &raw::Account,
        warnings: &mut Warnings,
        errors: &mut Vec<Error>,
    ) -> Option<Mailbox> {
        let own = match self.side {
            Side::Source => &account.source,
            Side::Target => &account.target,
        };
        let endpoint = self.endpoint(own, warnings, errors);
        let sign_in = self.sign_in(own, warnings, errors);
        let compress = own.compress.or(&self.section.compress).or(&self.defaults.compress);
        Some(Mailbox {
            endpoint: endpoint?,
            sign_in: sign_in?,
            compress: *compress.value()?,
            bytes_per_day: None,
            host_bytes_per_day: None,
        })
    }

    fn endpoint(&mut self, own: &Server, warnings: &mut Warnings, errors: &mut Vec<Error>) -> Option<Endpoint> {
        /// What stands in for the section where an account names another provider.
        fn unless<T: Clone>(replaced: bool, section: &Given<T>) -> Given<T> {
            if replaced { Given::Absent } else { section.clone() }
        }
        let elsewhere = !own.provider.is_absent();
        let provider = own.provider.or(&unless(!own.host.is_absent(), &self.section.provider));
        let host = own.host.or(&unless(elsewhere, &self.section.host));
        let port = own.port.or(&unless(elsewhere, &self.section.port));
        let tls = own.tls.or(&unless(elsewhere, &self.section.tls));
        let plaintext = own.plaintext.or(&unless(elsewhere, &self.section.plaintext)).or(&self.defaults.plaintext);
        let unprotected = own.tls.value() == Some(&Tls::None);
        let pin = own.pin.or(&unless(elsewhere || unprotected, &self.section.pin));
        let pinned = !own.pin.is_absent();
        let ca_file = own.ca_file.or(&unless(elsewhere || unprotected || pinned, &self.section.ca_file));
        let connect_timeout = own.connect_timeout.or(&self.section.connect_timeout).or(&self.defaults.connect_timeout);
        if matches!((&host, &provider), (Given::Absent, Given::Absent)) {
            errors.push(self.missing_host(own));
        }

        if port.is_bad() || tls.is_bad() || provider.is_bad() {
            return None;
        }

        let preset = provider.value();
        let known_host = host.value().cloned().or_else(|| preset.map(|preset| preset.host.to_owned()));
        if known_host.is_none() && host.is_absent() {
            errors.push(self.missing_host(own));
        }
        let preset_tls = preset.map(|preset| if preset.starttls { Tls::StartTls } else { Tls::Implicit });
        let chosen = *tls.value().or(preset_tls.as_ref()).or(self.defaults.tls.value())?;
        let usual = if chosen == Tls::Implicit { 993 } else { 143 };
        let preset_port = preset.filter(|_| preset_tls == Some(chosen)).map(|preset| preset.port);
        let endpoint = Endpoint {
            host: known_host?,
            port: port.value().copied().or(preset_port).unwrap_or(usual),
            tls: chosen,
            trust: Trust { ca_file: ca_file.value().cloned(), pin: pin.value().copied() },
            connect_timeout: *connect_timeout.value()?,
        };

        let place = tls.good().map_or(&own.place, |tls| &tls.place);
        plain_text(&endpoint, plaintext.value() == Some(&true), place, warnings, errors);
        self.trust(&endpoint, &ca_file, &pin, errors);
        if let Some(port) = port.good() {
            unusual_port(&endpoint, &port.place, warnings);
        }
        Some(endpoint)
    }

    fn missing_host(&self, own: &Server) -> Error {
        let side = self.side;
        let example = r#"host = "imap.example.com" or provider = "gmail""#;
        match (self.section.form, own.form) {
            (Form::Nothing, Form::Table) => {
                own.place.error(Fault::new("host is missing").hint(format!("write it here or in [{side}]: {example}")))
            }
            _ => self.section.place.error(Fault::new("host is missing").hint(format!("write [{side}] with {example}"))),
        }
    }

    /// Looks at what is said about certificates.
    fn trust(
        &mut self,
        endpoint: &Endpoint,
        ca_file: &Given<PathBuf>,
        pin: &Given<crate::net::Fingerprint>,
        errors: &mut Vec<Error>,
    ) {
        let places = [ca_file.good().map(|file| &file.place), pin.good().map(|pin| &pin.place)];
        if endpoint.tls == Tls::None {
            for place in places.iter().flatten() {
                let fault = Fault::new(r#"has no meaning with tls = "none""#);
                errors.push(place.error(fault.hint(r#"remove it, or write tls = "implicit" or "starttls""#)));
            }
            return;
        }
        if let [Some(_), Some(pin)] = places {
            let fault = Fault::new("a pin beside a ca_file: with a pin, that certificate alone counts");
            errors.push(pin.error(fault.hint("keep one of the two")));
        }
        if let Some(Written { value: path, place }) = ca_file.good() {
            let context = self.context;
            let fault = self.certificates.entry(path.clone()).or_insert_with(|| certificates(context, path).err());
            errors.extend(fault.clone().map(|fault| place.error(fault)));
        }
    }

    fn sign_in(&mut self, own: &Server, warnings: &mut Warnings, errors: &mut Vec<Error>) -> Option<SignIn> {
        if own.user.is_absent() {
            let fault = Fault::new("user is missing");
            errors.push(own.place.error(fault.hint(format!("write {} = {{ user = \"…\", password = … }}", self.side))));
        }
        let has_own = |server: &Server| !(server.password.is_absent() && server.token.is_absent());
        // An administrator and the secret that proves it stand in one table, or it would prove another.
        let by = if has_own(own) || !own.admin.is_absent() { own } else { self.section };
        let credential = match (&by.password, &by.token) {
            (Given::Absent, Given::Absent) => {
                errors.push(self.missing_secret(own, by));
                None
            }
            (Given::Good(secret), Given::Absent) => {
                self.secret(secret, warnings, errors);
                Some(Credential::Password(secret.value.clone()))
            }
            (Given::Absent, Given::Good(secret)) => {
                self.secret(secret, warnings, errors);
                if let Some(admin) = by.admin.good() {
                    let fault = Fault::new("an administrator signs in with a password, not with a token");
                    errors.push(admin.place.error(fault.hint("remove admin: the token says who signs in")));
                }
                Some(Credential::Token(secret.value.clone()))
            }
            (Given::Bad, Given::Absent | Given::Bad) | (Given::Absent, Given::Bad) => None,
            _ => {
                let place = by.token.good().map_or_else(|| by.place.below("token"), |token| token.place.clone());
                errors.push(place.error(Fault::new("a token beside a password").hint("keep one of the two")));
                None
            }
        };
        Some(SignIn {
            user: own.user.value()?.clone(),
            admin: match &by.admin {
                Given::Bad => return None,
                admin => admin.value().cloned(),
            },
            credential: credential?,
        })
    }

    fn missing_secret(&self, own: &Server, by: &Server) -> Error {
        if let Some(admin) = by.admin.good() {
            let fault = Fault::new("an administrator without a password");
            return admin.place.error(fault.hint("write the administrator's password beside admin, in the same table"));
        }
        let side = self.side;
        let hint = match own.form {
            Form::Row => format!("fill in {side}_password_env, {side}_password_file or {side}_token_command"),
            _ => r#"write password = { env = "NAME" }, or token = { command = ["program"] }"#.to_owned(),
        };
        own.place.error(Fault::new("password or token is missing").hint(hint))
    }

    /// Looks whether a secret is where it is said to be, without reading it.
    fn secret(&mut self, secret: &Written<SecretSource>, warnings: &mut Warnings, errors: &mut Vec<Error>) {
        let Written { value, place } = secret;
        if !self.secrets.insert(place.clone()) {
            return;
        }
        let around = &self.context.surroundings;
        let fault = match value {
            SecretSource::Plain(_) => {
                warnings.add_plain(place);
                return;
            }
            SecretSource::Env(name) if around.has_variable(name) => return,
            SecretSource::Env(name) => {
                Fault::new(format!("missing secret: the environment variable {name} is not set or empty"))
                    .hint(format!("set {name} before mailhaul is started"))
            }
            SecretSource::Command { argv, .. } => {
                let program = argv.first().map_or("", String::as_str);
                if around.has_program(program) {
                    return;
                }
                Fault::new(format!("missing secret: there is no program {}", shown(program)))
                    .hint("write its whole path, or ./name for one beside the job file")
            }
            SecretSource::File(path) => match around.secret_file(path) {
                Err(error) => {
                    Fault::new(format!("missing secret: {} {}", path.display(), io_text(&error))).hint(io_hint(&error))
                }
                Ok(file) if file.is_directory => {
                    Fault::new(format!("missing secret: {} is a directory", path.display())).hint("name a file in it")
                }
                Ok(file) if file.is_empty => Fault::new(format!("missing secret: {} is empty", path.display()))
                    .hint("write the secret into its first line"),
                Ok(file) => {
                    if file.is_open_to_others {
                        let fault = Fault::new(format!("others on this machine may read {}", path.display()));
                        warnings.add(place, fault.hint("close it with: chmod 600"));
                    }
                    return;
                }
            },
        };
        errors.push(place.error(fault));
    }
}

/// Refuses plain text towards another machine, unless it is asked for by name.
fn plain_text(endpoint: &Endpoint, is_allowed: bool, place: &Place, warnings: &mut Warnings, errors: &mut Vec<Error>) {
    let host = &endpoint.host;
    if endpoint.tls != Tls::None || is_loopback(host) {
        return;
    }
    let fault = Fault::new(format!("without TLS the password and all mail can be read on the way to {host}"));
    if is_allowed {
        warnings.add(place, fault);
    } else {
        let hint = r#"write tls = "implicit" or "starttls"; if it has to be, plaintext = "allowed" beside it"#;
        errors.push(place.error(fault.hint(hint)));
    }
}

/// Warns of ports where something else is usually spoken.
fn unusual_port(endpoint: &Endpoint, place: &Place, warnings: &mut Warnings) {
    let advice = match (endpoint.port, endpoint.tls) {
        (993, Tls::StartTls | Tls::None) => r#"port 993 usually speaks TLS from the first byte: tls = "implicit""#,
        (143, Tls::Implicit) => r#"port 143 usually speaks plain text first: tls = "starttls""#,
        (110 | 995, _) => "this is usually POP3's port; IMAP is at 993 or 143",
        (25 | 465 | 587, _) => "this is usually a port for sending mail; IMAP is at 993 or 143",
        _ => return,
    };
    warnings.add(place, advice);
}

/// Looks whether a file holds certificates, without judging them.
fn certificates(context: &Context, path: &Path) -> Result<(), Fault> {
    let bytes = context
        .surroundings
        .read(path)
        .map_err(|error| Fault::new(format!("{} {}", path.display(), io_text(&error))).hint(io_hint(&error)))?;
    let holds = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
    if holds("-----BEGIN CERTIFICATE-----") && holds("-----END CERTIFICATE-----") {
        return Ok(());
    }
    let fault = Fault::new(format!("{} holds no certificate in PEM", path.display()));
    // DER begins with a SEQUENCE of a length in two bytes.
    Err(if bytes.starts_with(&[0x30, 0x82]) {
        fault.hint("convert it: openssl x509 -inform der -in FILE -out FILE.pem")
    } else {
        fault.hint("it has to have a line -----BEGIN CERTIFICATE-----")
    })
}

/// Refuses mailboxes that stand twice on a side, or are both source and target.
pub(super) fn distinct(accounts: &[(&raw::Account, Account)], warnings: &mut Warnings, errors: &mut Vec<Error>) {
    let mut sources: HashMap<Key<'_>, Seen<'_>> = HashMap::new();
    let mut targets: HashMap<Key<'_>, Seen<'_>> = HashMap::new();
    for (index, (raw, account)) in accounts.iter().enumerate() {
        let (source, target) = (key(&account.source), key(&account.target));
        let (Some(source_user), Some(target_user)) = (raw.source.user.good(), raw.target.user.good()) else { continue };
        if source == target {
            let fault = Fault::new(format!("source and target are the same mailbox: {}", mailbox_text(&source)));
            errors.push(target_user.place.error(fault.hint("look at host, port and user of both sides")));
        }
        if let Some((_, first)) = sources.insert(source, (index, &source_user.place)) {
            let fault =
                Fault::new(format!("the same source mailbox as in line {}: {}", first.line, mailbox_text(&source)));
            errors.push(source_user.place.error(fault.hint("an account stands in a job once: remove one of the two")));
        }
        if let Some((_, first)) = targets.insert(target, (index, &target_user.place)) {
            let fault =
                Fault::new(format!("the same target mailbox as in line {}: {}", first.line, mailbox_text(&target)));
            errors
                .push(target_user.place.error(fault.hint("two sources cannot go into one target: give each its own")));
        }
    }
    for (target, (index, place)) in &targets {
        if let Some((_, source)) = sources.get(target).filter(|(other, _)| other != index) {
            let text = mailbox_text(target);
            let fault = Fault::new(format!("this target is the source of the account in line {}: {text}", source.line));
            errors.push(place.error(fault.hint("what arrives would go on or not, by chance: make two jobs of it")));
        }
    }
    warn_of_case(&sources, warnings);
    warn_of_case(&targets, warnings);
}

/// Warns of mailboxes of one side whose users are the same but for case.
fn warn_of_case(mailboxes: &HashMap<Key<'_>, Seen<'_>>, warnings: &mut Warnings) {
    let mut in_order: Vec<_> = mailboxes.iter().collect();
    in_order.sort_by_key(|(_, (index, _))| *index);
    let mut seen: HashMap<(&str, u16, String), &Place> = HashMap::new();
    for ((host, port, user), (_, place)) in in_order {
        if let Some(first) = seen.insert((host, *port, user.to_lowercase()), place) {
            let fault = format!("differs from the user in line {} in upper and lower case only", first.line);
            warnings.add(place, Fault::new(fault).hint("most servers take both for one mailbox"));
        }
    }
}

/// The account's index and where its user is written.
type Seen<'a> = (usize, &'a Place);

/// What makes a mailbox: host, port, user.
type Key<'a> = (&'a str, u16, &'a str);

/// Identifies a mailbox. The two ports of IMAP are two doors of one server.
fn key(mailbox: &Mailbox) -> Key<'_> {
    let port = if mailbox.endpoint.port == 143 { 993 } else { mailbox.endpoint.port };
    (&mailbox.endpoint.host, port, &mailbox.sign_in.user)
}

fn mailbox_text((host, _, user): &Key<'_>) -> String {
    format!("{} at {host}", shown(user))
}
