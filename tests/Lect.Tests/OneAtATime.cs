// libtorch has one default random stream and one number of threads a process: runs beside each other would disturb each other.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]
