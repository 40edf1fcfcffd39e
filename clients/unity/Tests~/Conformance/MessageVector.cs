using System;
using System.Collections.Generic;
using System.IO;

namespace RLay.Conformance
{
    /// <summary>A slot in memory of its own, whose reader takes at once; it keeps what was published.</summary>
    internal sealed unsafe class Bench : ICarrier, IDisposable
    {
        public readonly List<byte[]> Headers = new List<byte[]>();
        public readonly List<byte[]> Payloads = new List<byte[]>();
        public readonly Slot Slot;
        public readonly SlotSession Session;
        private readonly IntPtr memory;

        public Bench(long capacity, ulong incarnation, ulong session)
        {
            memory = System.Runtime.InteropServices.Marshal.AllocHGlobal((IntPtr)(Slot.Bytes(capacity) + 64));
            var start = (byte*)(((long)memory + 63) / 64 * 64);
            Memory.Clear(start, Slot.Bytes(capacity));
            Slot = new Slot(start, capacity);
            Session = new SlotSession(Slot, Slot, this, Protocol.DefaultMaxMessageBytes);
            Session.Stamp(incarnation, session);
        }

        public void Published(Slot slot)
        {
            uint index = (uint)*slot.Published & 1;
            Headers.Add(Bytes((byte*)slot.Header(index), Protocol.MessageHeaderBytes));
            Payloads.Add(Bytes(slot.Payload(index), slot.Header(index)->PayloadBytes));
            *slot.Taken = *slot.Published;
        }

        public void Taken(Slot slot) { }

        public void Wait(Slot slot, SlotWord word, int seen, Deadline deadline)
        {
            throw new RLayTimeoutException("nothing comes here");
        }

        public void Check() { }

        public void Look() { }

        public void Put(uint sequence, int counter, byte[] header, byte[] payload)
        {
            uint index = sequence & 1;
            Memory.Store(header, (byte*)Slot.Header(index));
            Memory.Store(payload, Slot.Payload(index));
            *Slot.Published = (counter << 1) | (int)index;
        }

        public void Dispose()
        {
            Session.Dispose();
            System.Runtime.InteropServices.Marshal.FreeHGlobal(memory);
        }

        private static byte[] Bytes(byte* from, long size)
        {
            return Payload.Copy(new Message { Payload = from, Size = size });
        }
    }

    /// <summary>A decision or report: read, then written again from what was read.</summary>
    internal sealed unsafe class MessageVector
    {
        private readonly Map vector;
        private readonly bool isDecision;
        private readonly Agreement agreement;
        private readonly uint sequence;
        private readonly Map says;

        public MessageVector(Map vector, bool isDecision)
        {
            this.vector = vector;
            this.isDecision = isDecision;
            Space space = Space.Parse(vector["space"]);
            int lanes = (bool)vector["batched"] ? (int)(long)vector["num_envs"] : 0;
            agreement = new Agreement(space, space, lanes);
            sequence = (uint)(long)vector["sequence"];
            says = (Map)vector["says"];
        }

        public void Check()
        {
            using (Bench reading = NewBench(1 << 20), writing = NewBench(1 << 20))
            {
                reading.Put(sequence, 1, (byte[])vector["header"], (byte[])vector["payload"]);
                Message message;
                if (!reading.Session.TryReceive(out message)) throw new InvalidDataException("nothing was read");
                Map read = Read(message);
                Compare(read);
                Write(writing, read);
                int last = writing.Headers.Count - 1;
                Vectors.Same("header", writing.Headers[last], (byte[])vector["header"]);
                Vectors.Same("payload", writing.Payloads[last], (byte[])vector["payload"]);
            }
        }

        public void CheckParts()
        {
            var parts = (List<object>)vector["parts"];
            var capacity = (long)vector["capacity"];
            using (Bench reading = NewBench(capacity), writing = NewBench(capacity))
            {
                Message message = default(Message);
                for (int i = 0; i < parts.Count; i++)
                {
                    var part = (Map)parts[i];
                    reading.Put(sequence, i + 1, (byte[])part["header"], (byte[])part["payload"]);
                    bool whole = reading.Session.TryReceive(out message);
                    if (whole != (i == parts.Count - 1)) throw new InvalidDataException("part " + i + " made it whole: " + whole);
                }
                Map read = Read(message);
                Compare(read);
                Write(writing, read);
                if (writing.Headers.Count != parts.Count) throw new InvalidDataException(writing.Headers.Count + " parts were written");
                for (int i = 0; i < parts.Count; i++)
                {
                    var part = (Map)parts[i];
                    Vectors.Same("header of part " + i, writing.Headers[i], (byte[])part["header"]);
                    Vectors.Same("part " + i, writing.Payloads[i], (byte[])part["payload"]);
                }
            }
        }

        private Bench NewBench(long capacity)
        {
            return new Bench(capacity, Convert.ToUInt64((string)vector["incarnation"], 16), Convert.ToUInt64((string)vector["session"], 16));
        }

        private void Compare(Map read)
        {
            foreach (KeyValuePair<string, object> item in says)
            {
                Vectors.SameValue(item.Key, read[item.Key], item.Value);
            }
        }

        private Map Read(Message message)
        {
            if (message.Header.Sequence != sequence) throw new InvalidDataException("sequence " + message.Header.Sequence);
            return isDecision ? ReadDecision(message) : AlgorithmSide.Read(agreement, message);
        }

        private Map ReadDecision(Message message)
        {
            var reader = new DecisionReader(agreement);
            switch (message.Kind)
            {
                case MessageKind.Reset:
                    ResetRequest reset = reader.Reset(message);
                    return new Map { { "seed", reset.Seed }, { "options", reset.Options }, { "mask", reset.Mask } };
                case MessageKind.Step:
                    NdArray mask;
                    object action = reader.Step(message, out mask);
                    // An area has a mask always; one that resets nobody is none.
                    if (mask != null && Array.IndexOf((bool[])mask.Data, true) < 0) mask = null;
                    return new Map { { "action", action }, { "reset_mask", mask } };
                case MessageKind.Call:
                    CallRequest call = DecisionReader.Call(message);
                    return new Map
                    {
                        { "operation", (long)call.Operation }, { "name", call.Name }, { "args", call.Arguments }, { "kwargs", call.Keywords }
                    };
                default:
                    return new Map { { "reason", (long)DecisionReader.Close(message) } };
            }
        }

        private void Write(Bench bench, Map read)
        {
            var draft = new Draft();
            var reports = new ReportWriter(agreement, true, true);
            long before = vector.Get("said before", 0L);
            for (long i = 0; i <= before; i++)
            {
                bench.Session.Begin(draft, KindOf((string)vector["kind"]), sequence);
                if (isDecision) AlgorithmSide.Write(agreement, (string)vector["kind"], read, draft);
                else WriteReport(reports, read, draft);
            }
            bench.Session.Send(draft, sequence, new Deadline(1));
        }

        private void WriteReport(ReportWriter writer, Map read, Draft draft)
        {
            switch ((string)vector["kind"])
            {
                case "READY":
                    writer.Ready(draft);
                    break;
                case "RESET_RESULT":
                    writer.ResetResult(draft, read["observation"], read["info"]);
                    break;
                case "TRANSITION":
                    writer.Transition(draft, new StepResult
                    {
                        Observation = read["observation"], Reward = read["reward"], Terminated = read["terminated"],
                        Truncated = read["truncated"], Info = read["info"]
                    });
                    break;
                case "CALL_RESULT":
                    writer.CallResult(draft, read["value"]);
                    break;
                default:
                    writer.Failure(draft, (long)read["code"], (string)read["type"], (string)read["message"], (string)read["traceback"]);
                    break;
            }
        }

        private static MessageKind KindOf(string name)
        {
            return (MessageKind)Enum.Parse(typeof(MessageKind), name.Replace("_", ""), true);
        }
    }
}
