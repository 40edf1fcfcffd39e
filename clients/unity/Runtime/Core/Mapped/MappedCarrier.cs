using System;
using System.Globalization;
using System.Threading;

namespace RLay
{
    /// <summary>Waiting and bells of one end, and whether the other one lives.</summary>
    internal sealed unsafe class MappedCarrier : ICarrier, IDisposable
    {
        private const double ResumeWindowSeconds = 300;

        private readonly ChannelFiles files;
        private readonly End peer;
        private readonly Descriptor probe;
        private readonly Spinner publishedSpinner;
        private readonly Spinner takenSpinner;
        private double downSince = -1;

        public MappedCarrier(ChannelFiles files, End peer)
        {
            this.files = files;
            this.peer = peer;
            probe = files.Probe(peer);
            Line = new EndLine(files.Header.Data, peer);
            bool bridged = Line.Holder == Holder.Bridge;
            publishedSpinner = new Spinner(bridged);
            takenSpinner = new Spinner(bridged);
        }

        public EndLine Line { get; private set; }

        /// <summary>A slot where a message means that somebody newer took the other end's place.</summary>
        public Slot? Greetings { get; set; }

        /// <summary>Whether the other end is waited for whoever it is, and however long it is gone.</summary>
        public bool IsPatient { get; set; }

        public void Published(Slot slot)
        {
            if (Volatile.Read(ref *slot.PublishedBell) != 0) Ring(slot.Published);
        }

        public void Taken(Slot slot)
        {
            Thread.MemoryBarrier();
            if (Volatile.Read(ref *slot.TakenBell) != 0) Ring(slot.Taken);
        }

        /// <summary>Wakes the other end without a message, so that it sees a goodbye at once.</summary>
        public void Wake(Slot outgoing, Slot incoming)
        {
            Ring(outgoing.Published);
            Ring(incoming.Taken);
        }

        public void Wait(Slot slot, SlotWord which, int seen, Deadline deadline)
        {
            bool published = which == SlotWord.Published;
            int* word = published ? slot.Published : slot.Taken;
            int* bell = published ? slot.PublishedBell : slot.TakenBell;
            if (!IsPatient && (published ? publishedSpinner : takenSpinner).Look(word, seen)) return;
            bool rung = Libc.HasFutex && (Line.Capabilities & Protocol.CapabilityFutex) != 0;
            Interlocked.Exchange(ref *bell, 1);
            try
            {
                while (Volatile.Read(ref *word) == seen)
                {
                    double began = Deadline.NowSeconds();
                    double slice = deadline.SliceLeft;
                    if (slice > 0) Sleeping.Sleep(word, seen, slice, rung);
                    if (Volatile.Read(ref *word) != seen) return;
                    deadline.ThrowIfStopped();
                    try
                    {
                        if (!IsPatient) Check();
                    }
                    catch (PeerGoneException)
                    {
                        // It may have published, then died: its last message counts.
                        if (Volatile.Read(ref *word) != seen) return;
                        throw;
                    }
                    if (downSince >= 0) deadline.Extend(Deadline.NowSeconds() - began);
                    if (deadline.IsOver) throw new RLayTimeoutException("no message came in time");
                    Interlocked.Exchange(ref *bell, 1);
                }
            }
            finally
            {
                Volatile.Write(ref *bell, 0);
            }
        }

        public void Look() { }

        public void Check()
        {
            EndState state = Line.State;
            if (state == EndState.Closed) throw SaidGoodbye();
            if (state == EndState.Lost) throw new PeerGoneException(Line.Reason, Who + " was lost");
            if (Greetings.HasValue && Greetings.Value.IsPending)
            {
                throw new PeerGoneException(Reason.Replaced, Who + " was replaced by a newer one");
            }
            if (state != EndState.LinkDown && Files.IsHeld(probe.Fd))
            {
                downSince = -1;
                return;
            }
            if (Line.Holder != Holder.Bridge)
            {
                if (Line.State == EndState.Closed) throw SaidGoodbye(); // it said so, then let go
                throw new PeerGoneException(Reason.Vanished, Who + " is gone: " + Line.Who
                                            + " ended without a goodbye (killed, crashed, or out of memory)");
            }
            double now = Deadline.NowSeconds();
            if (downSince < 0) downSince = now;
            if (now - downSince > ResumeWindow()) throw new PeerGoneException(Reason.LinkDown, "the link to " + Who + " was down for too long");
        }

        public void Dispose()
        {
            probe.Dispose();
        }

        private string Who
        {
            get { return "the " + Names.Of(peer) + " of channel '" + files.Name + "'"; }
        }

        private PeerGoneException SaidGoodbye()
        {
            return new PeerGoneException(Line.Reason, Who + " was closed (" + Line.Reason + ")") { Closed = true };
        }

        private static double ResumeWindow()
        {
            double named;
            string text = Environment.GetEnvironmentVariable("RLAY_RESUME_WINDOW_S");
            bool given = !string.IsNullOrEmpty(text)
                         && double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out named) && named >= 0;
            return given ? double.Parse(text, CultureInfo.InvariantCulture) : ResumeWindowSeconds;
        }

        private void Ring(int* word)
        {
            if (Line.Bell == Bell.Fifo) files.RingFifo(peer);
            else if (Line.Bell == Bell.Futex && Libc.HasFutex) Libc.FutexWake(word);
        }
    }

    /// <summary>Where the slots lie in a file of slots.</summary>
    internal unsafe struct SlotGeometry
    {
        private static readonly byte[] magic = { (byte)'R', (byte)'L', (byte)'A', (byte)'Y', (byte)'S', (byte)'L', (byte)'O', (byte)'T' };

        public readonly long RequestCapacity;
        public readonly long ReplyCapacity;

        public SlotGeometry(long requestCapacity, long replyCapacity)
        {
            RequestCapacity = requestCapacity;
            ReplyCapacity = replyCapacity;
        }

        public long ReplyOffset
        {
            get { return Protocol.Align(Protocol.SlotsHeaderBytes + Slot.Bytes(RequestCapacity), 4096); }
        }

        public long FileBytes
        {
            get { return Protocol.Align(ReplyOffset + Slot.Bytes(ReplyCapacity), 4096); }
        }

        public static long CapacityFor(long areaBytes)
        {
            return Protocol.Align(areaBytes + Protocol.TailRoomBytes, Protocol.PayloadAlignment);
        }

        public Slot Request(byte* file)
        {
            return new Slot(file + Protocol.SlotsHeaderBytes, RequestCapacity);
        }

        public Slot Reply(byte* file)
        {
            return new Slot(file + ReplyOffset, ReplyCapacity);
        }

        public void Write(byte* file, uint generation)
        {
            *(uint*)(file + 8) = Protocol.Version;
            *(uint*)(file + 12) = generation;
            *(long*)(file + 16) = Protocol.SlotsHeaderBytes;
            *(long*)(file + 24) = ReplyOffset;
            *(uint*)(file + 32) = (uint)RequestCapacity;
            *(uint*)(file + 36) = (uint)ReplyCapacity;
            Thread.MemoryBarrier();
            for (int i = 0; i < magic.Length; i++) file[i] = magic[i];
        }

        public static SlotGeometry Read(byte* file, long size, uint generation, string path)
        {
            var it = new SlotGeometry(*(uint*)(file + 32), *(uint*)(file + 36));
            bool sound = *(uint*)(file + 8) == Protocol.Version && *(uint*)(file + 12) == generation
                         && IsSound(it.RequestCapacity) && IsSound(it.ReplyCapacity);
            for (int i = 0; i < magic.Length; i++) sound &= file[i] == magic[i];
            if (sound && *(long*)(file + 16) == Protocol.SlotsHeaderBytes && *(long*)(file + 24) == it.ReplyOffset && it.FileBytes <= size) return it;
            throw new ChannelException(ErrorCode.Corrupt, "the head of " + path + "/slots." + generation + " is not sound");
        }

        private static bool IsSound(long capacity)
        {
            return capacity >= Protocol.PayloadAlignment && capacity <= Protocol.MaxSlotPayloadBytes && capacity % Protocol.PayloadAlignment == 0;
        }
    }
}
