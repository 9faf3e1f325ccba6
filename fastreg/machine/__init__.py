"""What is under the engines: the one extension, threads, SIMD targets, peaks, versions."""
