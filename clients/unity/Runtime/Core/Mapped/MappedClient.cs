using System;

namespace RLay
{
    /// <summary>The end of a channel that opens what a server made.</summary>
    internal sealed unsafe class MappedClient : IClientEnd
    {
        private readonly ChannelFiles files;
        private readonly EndLine line;
        private readonly MappedCarrier carrier;
        private readonly SlotSession greetings;
        private Draft hello;
        private uint said;
        private ulong helloIncarnation, helloSession;
        private Mapping slots;
        private SlotGeometry geometry;
        private MappedCarrier sessionCarrier;
        private SlotSession session;
        private bool open;

        /// <summary>Opens a channel and holds its client end.</summary>
        public MappedClient(string name, string directory, Paradigm paradigm)
        {
            Names.Check(name);
            files = ChannelFiles.Open(ChannelDirectory.Open(directory, false), name);
            try
            {
                byte* header = files.Header.Data;
                Paradigm found = HeaderPage.Read(header, files.Path);
                if (found != paradigm)
                {
                    throw new ChannelException(ErrorCode.Unsupported, "channel '" + name + (found == Paradigm.ClientEnv
                        ? "' was made by a backend, which holds an environment itself: a game needs a ServerEnv"
                        : "' was made by a ServerEnv, which waits for a game"));
                }
                using (Descriptor probe = files.Probe(End.Server))
                {
                    if (!Files.IsHeld(probe.Fd)) throw Gone("channel '" + name + "' is stale: its server is gone without a goodbye");
                }
                files.Hold(End.Client);
                if (!files.IsCurrent) throw Gone("channel '" + name + "' was just replaced");
                carrier = new MappedCarrier(files, End.Server);
                line = new EndLine(header, End.Client);
                line.Announce();
                greetings = new SlotSession(HeaderPage.RequestGreeting(header), HeaderPage.ReplyGreeting(header), carrier, Protocol.MaxGreetingBytes);
                open = true;
            }
            catch
            {
                files.Dispose();
                throw;
            }
        }

        public string Name
        {
            get { return files.Name; }
        }

        public uint PeerCapabilities
        {
            get { return carrier.Line.Capabilities; }
        }

        public void BeginHello(byte[] payload, ulong incarnation, ulong sessionId)
        {
            // What was said to an earlier client.
            while (greetings.Incoming.IsPending) greetings.TakeAndRing();
            helloIncarnation = incarnation;
            helloSession = sessionId;
            greetings.Stamp(incarnation, sessionId);
            hello = Payload.Draft(greetings, MessageKind.Hello, payload);
            said = 0;
        }

        public Greeting LookForWelcome(out ulong incarnation, out ulong sessionId)
        {
            incarnation = helloIncarnation;
            sessionId = helloSession;
            // An earlier client may have gone with a HELLO that nobody has taken.
            if (said > 0 || greetings.Outgoing.WasTaken) greetings.SendSome(hello, 1, ref said);
            Message message;
            if (!greetings.TryReceive(out message))
            {
                carrier.Check();
                return null;
            }
            bool ours = (helloIncarnation == 0 || helloIncarnation == message.Header.Incarnation)
                        && (helloSession == 0 || helloSession == message.Header.Session);
            byte[] payload = Payload.Copy(message);
            MessageKind kind = message.Kind;
            greetings.TakeAndRing();
            if (!ours) return null;
            if (kind == MessageKind.Refusal) throw Refusal.Read(payload);
            if (kind != MessageKind.Welcome) throw new ProtocolException("something else than an answer came to a HELLO");
            incarnation = message.Header.Incarnation;
            sessionId = message.Header.Session;
            return Greeting.ReadWelcome(payload);
        }

        public void Rest(double seconds)
        {
            int seen = *greetings.Incoming.Taken;
            if (greetings.Incoming.IsPending) return;
            try
            {
                carrier.Wait(greetings.Incoming, SlotWord.Published, seen, new Deadline(seconds));
            }
            catch (RLayTimeoutException)
            {
                // The next look sees what there is.
            }
            catch (PeerGoneException)
            {
                // Likewise.
            }
        }

        public SlotSession Attach(Greeting welcome, ulong incarnation, ulong sessionId, long requestArea, long replyArea)
        {
            slots = files.OpenSlots(welcome.Generation);
            geometry = SlotGeometry.Read(slots.Data, slots.Size, welcome.Generation, files.Path);
            if (geometry.RequestCapacity < requestArea || geometry.ReplyCapacity < replyArea)
            {
                throw new ProtocolException("the slots of channel '" + Name + "' are smaller than its messages");
            }
            sessionCarrier = new MappedCarrier(files, End.Server);
            session = new SlotSession(geometry.Request(slots.Data), geometry.Reply(slots.Data), sessionCarrier,
                Math.Min(welcome.MaxMessageBytes, Protocol.DefaultMaxMessageBytes));
            session.Stamp(incarnation, sessionId);
            return session;
        }

        public void Check()
        {
            (sessionCarrier ?? carrier).Check();
        }

        public void Close(Reason reason)
        {
            if (!open) return;
            open = false;
            if (files.Holds)
            {
                line.SayGoodbye(reason);
                carrier.Wake(greetings.Outgoing, greetings.Incoming);
                if (slots != null) carrier.Wake(geometry.Request(slots.Data), geometry.Reply(slots.Data));
                files.Release();
            }
            greetings.Dispose();
            if (session != null) session.Dispose();
            if (sessionCarrier != null) sessionCarrier.Dispose();
            carrier.Dispose();
            if (slots != null) slots.Dispose();
            files.Dispose();
        }

        public void Dispose()
        {
            Close(Reason.Closed);
        }

        private static PeerGoneException Gone(string message)
        {
            return new PeerGoneException(Reason.Vanished, message);
        }
    }
}
