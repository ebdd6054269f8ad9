//! Proofs that a source is only read, for the compiler to refuse: the same lines with the other end do compile, so that each
//! is refused for the end alone. Read by `cargo test --doc`, and by nothing else.

macro_rules! only_target {
    ($($name:ident: $code:literal)+) => {$(
        #[doc = concat!("```compile_fail\ntype End = mailhaul::imap::Source;\n", $code, "\n```\n")]
        #[doc = concat!("```\ntype End = mailhaul::imap::Target;\n", $code, "\n```")]
        pub struct $name;
    )+};
}

only_target! {
    Append: "use mailhaul::imap::*;
async fn f(session: &mut Session<End>, to: &mailhaul::mail::WireName, brake: &impl Brake) {
    let incoming = Incoming::of(tokio::sync::mpsc::channel(1).1);
    let (answers, _) = tokio::sync::mpsc::unbounded_channel();
    let stop = tokio_util::sync::CancellationToken::new();
    let _ = session.append(Destination { folder: to, validity: None, together: 1 }, &incoming, &answers, brake, &stop).await;
}"
    Create: "async fn f(session: &mut mailhaul::imap::Session<End>, name: &mailhaul::mail::WireName) {
    let _ = session.create(name, None).await;
}"
    Make: "async fn f(session: &mut mailhaul::imap::Session<End>, name: &mailhaul::mail::WireName) {
    let _ = session.make(name, None, false).await;
}"
    Select: "async fn f(session: &mut mailhaul::imap::Session<End>, name: &mailhaul::mail::WireName) {
    let _ = session.select(name).await;
}"
    Store: "async fn f(session: &mut mailhaul::imap::Session<End>, flags: &mailhaul::mail::Flags) {
    let _ = session.store(&[], mailhaul::imap::FlagChange::Add, flags, None).await;
}"
    Expunge: "async fn f(session: &mut mailhaul::imap::Session<End>) {
    let _ = session.expunge(&[]).await;
}"
    CanExpunge: "fn f(session: &mailhaul::imap::Session<End>) -> bool {
    session.can_expunge()
}"
    Subscribe: "async fn f(session: &mut mailhaul::imap::Session<End>, name: &mailhaul::mail::WireName) {
    let _ = session.subscribe(name).await;
}"
    NoOtherEnd: "fn f(session: mailhaul::imap::Session<End>) -> mailhaul::imap::Session<mailhaul::imap::Target> {
    session
}"
}
