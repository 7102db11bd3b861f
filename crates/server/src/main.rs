//! The `steadfast` command.

mod api;
mod bench;
mod checkpoint;
mod cli;
mod fault;
mod idempotency_cli;
#[cfg(feature = "kafka")]
mod outbox_cli;
mod print;
#[cfg(feature = "kafka")]
mod projection_cli;
mod roles;
mod saga_cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
