using System;
using System.Diagnostics;
using System.Globalization;
using System.Threading;

namespace RLay
{
    /// <summary>Looks at one word for as long as that pays: docs/decisions/0003 and 0009.</summary>
    internal sealed unsafe class Spinner
    {
        private const double DefaultMicroseconds = 50;
        private const double BridgedMicroseconds = 400;
        private const int FirstPenalty = 16;
        private const int LastPenalty = 4096;
        private const int LooksBetweenYields = 8;

        private static readonly double ticksPerMicrosecond = Stopwatch.Frequency / 1e6;

        private readonly long spinTicks;
        private readonly long longYieldTicks;
        private int skips;
        private int penalty = FirstPenalty;

        public Spinner(bool bridged)
        {
            spinTicks = (long)(BudgetMicroseconds(bridged ? BridgedMicroseconds : DefaultMicroseconds) * ticksPerMicrosecond);
            longYieldTicks = (long)((bridged ? 150 : 500) * ticksPerMicrosecond);
        }

        /// <summary>Whether the word is no longer as seen.</summary>
        public bool Look(int* word, int seen)
        {
            if (spinTicks == 0) return false;
            if (skips > 0)
            {
                skips--;
                return false;
            }
            long until = Stopwatch.GetTimestamp() + spinTicks;
            while (true)
            {
                for (int i = 0; i < LooksBetweenYields; i++)
                {
                    if (Volatile.Read(ref *word) == seen) continue;
                    penalty = FirstPenalty;
                    return true;
                }
                long before = Stopwatch.GetTimestamp();
                if (before >= until) return false;
                Thread.Yield();
                // So long a yield gave the core to a stranger for a whole time slice.
                if (Stopwatch.GetTimestamp() - before <= longYieldTicks) continue;
                skips = penalty;
                penalty = Math.Min(2 * penalty, LastPenalty);
                return Volatile.Read(ref *word) != seen;
            }
        }

        /// <summary>RLAY_SPIN_US, else the given time; none where one processor is all there is.</summary>
        private static double BudgetMicroseconds(double otherwise)
        {
            double named;
            string text = Environment.GetEnvironmentVariable("RLAY_SPIN_US");
            if (!string.IsNullOrEmpty(text) && double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out named)
                && named >= 0 && named < 1e9) return named;
            return Environment.ProcessorCount > 1 ? otherwise : 0;
        }
    }

    internal static unsafe class Sleeping
    {
        /// <summary>Sleeps while a word is as seen, or for less; rung: whether the other end rings futexes.</summary>
        public static void Sleep(int* word, int seen, double seconds, bool rung)
        {
            if (rung)
            {
                Libc.FutexWait(word, seen, seconds);
                return;
            }
            var until = Stopwatch.GetTimestamp() + (long)(seconds * Stopwatch.Frequency);
            while (Volatile.Read(ref *word) == seen && Stopwatch.GetTimestamp() < until) Thread.Sleep(1);
        }
    }
}
