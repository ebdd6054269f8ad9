//! The program: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    mailhaul::cli::main_with(std::env::args_os())
}
