"""Speed beside its rivals: every figure is measured together with what it is compared to, in one run, and is a ratio.

One module a question; each has a `run(stage)` that gives results. Nothing here asserts a time: a goal that is missed is
printed as missed, and the exit code says only whether the benchmarks ran. May import anything of the host.
"""
