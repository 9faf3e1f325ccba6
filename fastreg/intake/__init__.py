"""What people bring, made into arrays: tables, frames, labels."""
