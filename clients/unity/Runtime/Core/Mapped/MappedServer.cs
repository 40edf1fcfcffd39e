using System;
using System.Threading;

namespace RLay
{
    /// <summary>The end of a channel that makes it and removes it.</summary>
    internal sealed unsafe class MappedServer : IServerEnd
    {
        // A client that does not read its answer for so long is given up.
        private const double AnswerSeconds = 60;

        private readonly ChannelFiles files;
        private readonly EndLine line;
        private readonly MappedCarrier greetingCarrier;
        private readonly SlotSession greetings;
        private Mapping slots;
        private SlotGeometry geometry;
        private uint generation;
        private MappedCarrier carrier;
        private SlotSession session;
        private bool open;

        public MappedServer(string name, string directory, Paradigm paradigm, uint numEnvs)
        {
            Names.Check(name);
            files = ChannelFiles.Create(ChannelDirectory.Open(directory, true), name);
            try
            {
                byte* header = files.Header.Data;
                HeaderPage.Write(header, paradigm, numEnvs);
                line = new EndLine(header, End.Server);
                line.Announce();
                greetingCarrier = new MappedCarrier(files, End.Client) { IsPatient = true };
                greetings = new SlotSession(HeaderPage.ReplyGreeting(header), HeaderPage.RequestGreeting(header), greetingCarrier,
                    Protocol.MaxGreetingBytes);
                files.Publish();
                open = true;
            }
            catch
            {
                files.Remove();
                files.Dispose();
                throw;
            }
        }

        public uint PeerCapabilities
        {
            get { return greetingCarrier.Line.Capabilities; }
        }

        public HelloMessage ReceiveHello(Deadline deadline)
        {
            greetingCarrier.IsPatient = true;
            var hello = new HelloMessage();
            try
            {
                Message message = greetings.Receive(deadline);
                hello.Incarnation = message.Header.Incarnation;
                hello.Session = message.Header.Session;
                if (message.Kind != MessageKind.Hello || message.Header.Sequence != 1) throw new ProtocolException("a client said something else than HELLO");
                hello.Hello = Greeting.ReadHello(Payload.Copy(message));
            }
            catch (RLayException error)
            {
                if (error is StoppedException || error is RLayTimeoutException) throw;
                hello.Problem = error;
                MessageHeader* header = greetings.Incoming.Header((uint)*greetings.Incoming.Published & 1);
                hello.Incarnation = header->Incarnation;
                hello.Session = header->Session;
            }
            greetings.TakeAndRing();
            return hello;
        }

        public void Refuse(HelloMessage hello, RLayException why, StopFlag stop)
        {
            Answer(MessageKind.Refusal, Refusal.Write(why), hello.Incarnation, hello.Session, stop);
        }

        public SlotSession Accept(Greeting welcome, ulong incarnation, ulong sessionId, long requestCapacity, long replyCapacity, StopFlag stop)
        {
            EndSession();
            if (slots == null || geometry.RequestCapacity != requestCapacity || geometry.ReplyCapacity != replyCapacity)
            {
                if (slots != null) slots.Dispose();
                geometry = new SlotGeometry(requestCapacity, replyCapacity);
                slots = files.CreateSlots(++generation, geometry.FileBytes);
                geometry.Write(slots.Data, generation);
            }
            Slot request = geometry.Request(slots.Data);
            Slot reply = geometry.Reply(slots.Data);
            Memory.Clear(request.Base, Protocol.SlotControlBytes);
            Memory.Clear(reply.Base, Protocol.SlotControlBytes);
            carrier = new MappedCarrier(files, End.Client) { Greetings = greetings.Incoming };
            session = new SlotSession(reply, request, carrier, welcome.MaxMessageBytes);
            session.Stamp(incarnation, sessionId);
            byte* header = files.Header.Data;
            *(ulong*)(header + HeaderPage.IncarnationOffset) = incarnation;
            *(ulong*)(header + HeaderPage.SessionOffset) = sessionId;
            *(uint*)(header + HeaderPage.SessionsOffset) += 1;
            Volatile.Write(ref *(uint*)(header + HeaderPage.GenerationOffset), generation);
            welcome.Generation = generation;
            Answer(MessageKind.Welcome, welcome.WriteWelcome(), incarnation, sessionId, stop);
            return session;
        }

        public void Close(Reason reason)
        {
            if (!open) return;
            open = false;
            if (files.Holds)
            {
                files.Remove();
                line.SayGoodbye(reason);
                greetingCarrier.Wake(greetings.Outgoing, greetings.Incoming);
                if (slots != null && carrier != null) carrier.Wake(geometry.Reply(slots.Data), geometry.Request(slots.Data));
                files.Release();
            }
            EndSession();
            greetings.Dispose();
            greetingCarrier.Dispose();
            if (slots != null) slots.Dispose();
            files.Dispose();
        }

        public void Dispose()
        {
            Close(Reason.Closed);
        }

        private void EndSession()
        {
            if (carrier != null) carrier.Dispose();
            if (session != null) session.Dispose();
            carrier = null;
            session = null;
        }

        private void Answer(MessageKind kind, byte[] payload, ulong incarnation, ulong sessionId, StopFlag stop)
        {
            greetingCarrier.IsPatient = false;
            var deadline = new Deadline(AnswerSeconds, stop);
            greetings.WaitUntilTaken(deadline);
            greetings.Stamp(incarnation, sessionId);
            greetings.Send(Payload.Draft(greetings, kind, payload), 1, deadline);
            greetings.WaitUntilTaken(deadline);
        }
    }

    internal static unsafe class Payload
    {
        public static byte[] Copy(Message message)
        {
            var bytes = new byte[message.Size];
            if (bytes.Length > 0)
            {
                fixed (byte* target = bytes) Memory.Copy(message.Payload, target, message.Size);
            }
            return bytes;
        }

        /// <summary>A greeting that is to be said.</summary>
        public static Draft Draft(SlotSession greetings, MessageKind kind, byte[] payload)
        {
            var draft = new Draft();
            greetings.Begin(draft, kind, 1);
            draft.Tail.Put(payload, 0, payload.Length);
            draft.Append(draft.Tail);
            return draft;
        }
    }
}
