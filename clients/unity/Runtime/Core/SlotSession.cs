using System;
using System.Threading;

namespace RLay
{
    /// <summary>Whole messages over two slots: a session, or a greeting.</summary>
    internal sealed unsafe class SlotSession : IDisposable
    {
        private readonly ICarrier carrier;
        private readonly ByteBuffer assembled = new ByteBuffer();
        private System.Runtime.InteropServices.GCHandle pinned;
        private uint count;
        private ulong incarnation, session;
        private MessageHeader first;
        private uint parts, nextPart;

        public SlotSession(Slot outgoing, Slot incoming, ICarrier carrier, long limitBytes)
        {
            Outgoing = outgoing;
            Incoming = incoming;
            this.carrier = carrier;
            LimitBytes = limitBytes;
            count = (uint)*outgoing.Published & ~1U;
        }

        public Slot Outgoing { get; private set; }

        public Slot Incoming { get; private set; }

        public long LimitBytes { get; private set; }

        /// <summary>Whether messages of other ids are a breach: where a link was cut they can come.</summary>
        public bool ChecksIds { get; set; }

        /// <summary>Sets the ids that every message carries from now on.</summary>
        public void Stamp(ulong newIncarnation, ulong newSession)
        {
            incarnation = newIncarnation;
            session = newSession;
            for (uint index = 0; index < 2; index++)
            {
                *Outgoing.Header(index) = new MessageHeader { Incarnation = incarnation, Session = session, Parts = 1 };
            }
        }

        public void Begin(Draft draft, MessageKind kind, uint sequence)
        {
            draft.Begin(kind, Outgoing.Payload(sequence & 1), Outgoing.Capacity);
        }

        public void CheckSize(Draft draft)
        {
            if (draft.IsLong && draft.Size > LimitBytes) throw new MessageTooLargeException(draft.Size, LimitBytes);
        }

        /// <summary>Publishes a draft; a long one goes in parts, each of which is awaited.</summary>
        public void Send(Draft draft, uint sequence, Deadline deadline)
        {
            if (!draft.IsLong)
            {
                PutHeader(draft, sequence, 0, 1, draft.Size, 0);
                Publish(sequence);
                return;
            }
            CheckSize(draft);
            uint next = 0;
            while (!SendSome(draft, sequence, ref next)) WaitUntilTaken(deadline);
            // The next message follows only when the last part was taken.
            WaitUntilTaken(deadline);
        }

        /// <summary>Sends as many parts as can be without waiting; true where all of them are out.</summary>
        public bool SendSome(Draft draft, uint sequence, ref uint next)
        {
            if (!draft.IsLong)
            {
                if (next == 0)
                {
                    PutHeader(draft, sequence, 0, 1, draft.Size, 0);
                    Publish(sequence);
                    next = 1;
                }
                return true;
            }
            long capacity = Outgoing.Capacity;
            var total = (uint)((draft.Size + capacity - 1) / capacity);
            while (next < total && Outgoing.WasTaken)
            {
                long start = next * capacity;
                long size = Math.Min(capacity, draft.Size - start);
                fixed (byte* source = draft.Overflow.Data) Memory.Copy(source + start, Outgoing.Payload(sequence & 1), size);
                PutHeader(draft, sequence, next, total, size, draft.Size);
                Publish(sequence);
                next++;
            }
            return next == total;
        }

        /// <summary>Publishes the last message again: it still lies in its buffer.</summary>
        public void Repeat(uint sequence)
        {
            Publish(sequence);
        }

        /// <summary>Waits for the next whole message. Take must be called before another is received.</summary>
        public Message Receive(Deadline deadline)
        {
            Message message;
            while (!TryReceive(out message))
            {
                int seen = *Incoming.Taken;
                if (!Incoming.IsPending) carrier.Wait(Incoming, SlotWord.Published, seen, deadline);
            }
            return message;
        }

        /// <summary>The next whole message, if one is there; it does not wait.</summary>
        public bool TryReceive(out Message message)
        {
            carrier.Look();
            message = default(Message);
            while (Incoming.IsPending)
            {
                if (Accept(out message)) return true;
            }
            return false;
        }

        /// <summary>Says that the message was read, or copied as far as it is needed.</summary>
        public void Take()
        {
            Volatile.Write(ref *Incoming.Taken, Volatile.Read(ref *Incoming.Published));
        }

        public void TakeAndRing()
        {
            Take();
            carrier.Taken(Incoming);
        }

        public void WaitUntilTaken(Deadline deadline)
        {
            while (!Outgoing.WasTaken)
            {
                int seen = Volatile.Read(ref *Outgoing.Taken);
                if (Outgoing.WasTaken) break;
                carrier.Wait(Outgoing, SlotWord.Taken, seen, deadline);
            }
        }

        /// <summary>Frees what holds a long message in its place.</summary>
        public void Dispose()
        {
            if (pinned.IsAllocated) pinned.Free();
        }

        private void PutHeader(Draft draft, uint sequence, uint part, uint total, long bytes, long allBytes)
        {
            MessageHeader* header = Outgoing.Header(sequence & 1);
            header->Word = draft.Word;
            header->Sequence = sequence;
            header->Incarnation = incarnation;
            header->Session = session;
            header->PayloadBytes = (uint)bytes;
            header->Part = part;
            header->Parts = total;
            header->RewardType = draft.RewardType;
            header->Reward = draft.Reward;
            header->TotalBytes = (ulong)allBytes;
            header->Reserved = 0;
        }

        private void Publish(uint sequence)
        {
            count += 2;
            // A full fence: the look at the bell must not overtake this store.
            Interlocked.Exchange(ref *Outgoing.Published, (int)(count | (sequence & 1)));
            carrier.Published(Outgoing);
        }

        /// <summary>Takes in what is published: a whole message, or a part, which is taken here.</summary>
        private bool Accept(out Message message)
        {
            var word = (uint)Volatile.Read(ref *Incoming.Published);
            MessageHeader header = *Incoming.Header(word & 1);
            message = default(Message);
            if (ChecksIds && (header.Incarnation != incarnation || header.Session != session))
            {
                throw new ProtocolException("a message of another session came");
            }
            if (header.PayloadBytes > Incoming.Capacity)
            {
                throw new ProtocolException("a message claims " + header.PayloadBytes + " bytes in a slot of " + Incoming.Capacity);
            }
            byte* payload = Incoming.Payload(word & 1);
            if (header.Part == 0 && header.Parts == 1)
            {
                parts = 0;
                message = new Message { Header = header, Payload = payload, Size = header.PayloadBytes };
                return true;
            }
            AddPart(header, payload);
            bool whole = nextPart == parts;
            if (whole)
            {
                parts = 0;
                Dispose();
                pinned = System.Runtime.InteropServices.GCHandle.Alloc(assembled.Data, System.Runtime.InteropServices.GCHandleType.Pinned);
                message = new Message
                {
                    Header = first, Payload = (byte*)pinned.AddrOfPinnedObject(), Size = assembled.Length
                };
            }
            TakeAndRing();
            return whole;
        }

        private void AddPart(MessageHeader header, byte* payload)
        {
            if (header.Part == 0)
            {
                if (header.TotalBytes > (ulong)LimitBytes) throw new MessageTooLargeException((long)Math.Min(header.TotalBytes, long.MaxValue), LimitBytes);
                if (header.Parts < 2 || (long)header.TotalBytes <= Incoming.Capacity) throw new ProtocolException("a message in parts is malformed");
                Dispose();
                first = header;
                parts = header.Parts;
                nextPart = 0;
                assembled.Clear();
            }
            else if (parts == 0 || header.Part != nextPart || header.Parts != parts || header.TotalBytes != first.TotalBytes
                     || header.Sequence != first.Sequence || header.Word != first.Word
                     || header.Incarnation != first.Incarnation || header.Session != first.Session)
            {
                throw new ProtocolException("parts of a message do not belong together");
            }
            ulong sum = (ulong)assembled.Length + header.PayloadBytes;
            bool last = header.Part + 1 == header.Parts;
            if (header.PayloadBytes == 0 || sum > first.TotalBytes || (last && sum != first.TotalBytes))
            {
                throw new ProtocolException("the parts of a message do not add up");
            }
            int start = assembled.Skip((int)header.PayloadBytes);
            fixed (byte* target = assembled.Data) Memory.Copy(payload, target + start, header.PayloadBytes);
            nextPart++;
        }
    }
}
