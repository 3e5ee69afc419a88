//! Rebuilds the crate when a migration is added: the migrations are embedded at compile time.

fn main() {
    // Cargo reads this line from the build script's output; it never reaches a user.
    #[allow(clippy::print_stdout)]
    {
        println!("cargo:rerun-if-changed=migrations");
    }
}
