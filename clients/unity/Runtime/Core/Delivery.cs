namespace RLay
{
    /// <summary>At most once, and the reply that belongs to the request: the tables of session.md.</summary>
    internal static class Sequences
    {
        /// <summary>Where a session begins; other than 0 only in tests of the wrap-around.</summary>
        internal static uint BeforeFirst = 0;

        public static uint Next(uint sequence)
        {
            return sequence == uint.MaxValue ? 1 : sequence + 1;
        }

        public static bool IsOlder(uint sequence, uint last)
        {
            return sequence != 0 && ((sequence - last) & 0x80000000U) != 0;
        }
    }

    internal enum Outcome
    {
        Accept,
        Run,
        Repeat,
        Discard,
        Drop,
        Breach
    }

    /// <summary>The asking end's half of delivery.</summary>
    internal sealed class Requester
    {
        public enum State
        {
            Idle,
            Waiting,
            Over
        }

        public State Now { get; private set; }

        public uint Sequence { get; private set; } = Sequences.BeforeFirst;

        private uint before;

        /// <summary>Starts the next request; only where the state is Idle.</summary>
        public uint Begin()
        {
            Now = State.Waiting;
            before = Sequence;
            return Sequence = Sequences.Next(Sequence);
        }

        /// <summary>Undoes Begin: nothing was published.</summary>
        public void Cancel()
        {
            if (Now != State.Waiting) return;
            Now = State.Idle;
            Sequence = before;
        }

        public Outcome Receive(uint sequence)
        {
            if (Now != State.Over)
            {
                bool same = sequence == Sequence && sequence != 0;
                if (same && Now == State.Waiting)
                {
                    Now = State.Idle;
                    return Outcome.Accept;
                }
                if (same || Sequences.IsOlder(sequence, Sequence)) return Outcome.Drop;
            }
            Now = State.Over;
            return Outcome.Breach;
        }

        public void Lose()
        {
            Now = State.Over;
        }
    }

    /// <summary>The answering end's half of delivery.</summary>
    internal sealed class Responder
    {
        public enum State
        {
            Ready,
            Running,
            Over
        }

        private bool started;

        public State Now { get; private set; }

        public uint Sequence { get; private set; } = Sequences.BeforeFirst;

        public Outcome Receive(uint sequence)
        {
            if (Now == State.Ready && sequence == Sequences.Next(Sequence))
            {
                Now = State.Running;
                Sequence = sequence;
                started = true;
                return Outcome.Run;
            }
            if (Now != State.Over)
            {
                if (started && sequence == Sequence) return Now == State.Ready ? Outcome.Repeat : Outcome.Drop;
                if (Sequences.IsOlder(sequence, Sequence)) return Outcome.Drop;
            }
            Now = State.Over;
            return Outcome.Breach;
        }

        public void Answer()
        {
            Now = State.Ready;
        }
    }
}
