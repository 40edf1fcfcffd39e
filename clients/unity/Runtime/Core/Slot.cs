using System.Threading;

namespace RLay
{
    /// <summary>The memory of one slot: docs/spec/slot.md.</summary>
    internal unsafe struct Slot
    {
        private const int TakenBellOffset = 4;
        private const int TakenOffset = 128;
        private const int PublishedBellOffset = 132;

        public readonly byte* Base;
        public readonly long Capacity;

        public Slot(byte* start, long capacity)
        {
            Base = start;
            Capacity = capacity;
        }

        public static long Bytes(long capacity)
        {
            return Protocol.SlotControlBytes + 2 * (Protocol.MessageHeaderBytes + capacity);
        }

        public int* Published
        {
            get { return (int*)Base; }
        }

        public int* TakenBell
        {
            get { return (int*)(Base + TakenBellOffset); }
        }

        public int* Taken
        {
            get { return (int*)(Base + TakenOffset); }
        }

        public int* PublishedBell
        {
            get { return (int*)(Base + PublishedBellOffset); }
        }

        public MessageHeader* Header(uint index)
        {
            return (MessageHeader*)(Base + Protocol.SlotControlBytes + index * (Protocol.MessageHeaderBytes + Capacity));
        }

        public byte* Payload(uint index)
        {
            return (byte*)Header(index) + Protocol.MessageHeaderBytes;
        }

        public bool IsPending
        {
            get { return Volatile.Read(ref *Published) != *Taken; }
        }

        public bool WasTaken
        {
            get { return Volatile.Read(ref *Taken) == *Published; }
        }
    }

    internal enum SlotWord
    {
        Published,
        Taken
    }

    /// <summary>What stands behind two slots: mapped memory and bells, or a socket.</summary>
    internal interface ICarrier
    {
        /// <summary>A message or part was published in the outgoing slot.</summary>
        void Published(Slot slot);

        /// <summary>A part, or a greeting, was taken: its writer may wait for that.</summary>
        void Taken(Slot slot);

        /// <summary>Waits until a word is no longer as seen. It throws where waiting is of no use.</summary>
        void Wait(Slot slot, SlotWord word, int seen, Deadline deadline);

        /// <summary>Throws where the other end is gone.</summary>
        void Check();

        /// <summary>Makes what has come visible, without waiting.</summary>
        void Look();
    }
}
