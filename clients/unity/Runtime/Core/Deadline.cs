using System.Diagnostics;

namespace RLay
{
    /// <summary>Ends the waits of whoever was given it, within 0.1 s; from any thread.</summary>
    public sealed class StopFlag
    {
        private volatile bool stopped;

        public bool IsStopped
        {
            get { return stopped; }
        }

        public void Stop()
        {
            stopped = true;
        }
    }

    /// <summary>How long a wait may last, in slices of at most 0.1 s.</summary>
    internal sealed class Deadline
    {
        public const double Forever = double.PositiveInfinity;
        private const double SliceSeconds = 0.1;

        private readonly StopFlag stop;
        private double endSeconds;

        public Deadline(double seconds, StopFlag stop = null)
        {
            this.stop = stop;
            endSeconds = NowSeconds() + seconds;
        }

        public static double NowSeconds()
        {
            return (double)Stopwatch.GetTimestamp() / Stopwatch.Frequency;
        }

        public bool IsOver
        {
            get { return NowSeconds() >= endSeconds; }
        }

        public double SliceLeft
        {
            get { return System.Math.Max(0, System.Math.Min(SliceSeconds, endSeconds - NowSeconds())); }
        }

        /// <summary>Time in which the link was down does not count.</summary>
        public void Extend(double seconds)
        {
            endSeconds += seconds;
        }

        public void ThrowIfStopped()
        {
            if (stop != null && stop.IsStopped) throw new StoppedException();
        }
    }
}
