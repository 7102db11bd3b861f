//! The `steadfast` command.

mod api;
mod bench;
mod cli;
mod roles;
mod saga_cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
