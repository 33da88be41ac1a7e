//! Rebuilds the program when a migration changes, because it embeds them.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
