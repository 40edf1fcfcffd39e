using System;

namespace RLay
{
    /// <summary>A HELLO that came, and the ids with which it is answered.</summary>
    internal sealed class HelloMessage
    {
        public ulong Incarnation;
        public ulong Session;

        /// <summary>Null where the client spoke, but not soundly; then Problem says how.</summary>
        public Greeting Hello;

        public RLayException Problem;
    }

    /// <summary>The end that answers: it takes one client after the other.</summary>
    internal interface IServerEnd : IDisposable
    {
        HelloMessage ReceiveHello(Deadline deadline);

        void Refuse(HelloMessage hello, RLayException why, StopFlag stop);

        /// <summary>Makes the slots of a session and tells the client.</summary>
        SlotSession Accept(Greeting welcome, ulong incarnation, ulong session, long requestCapacity, long replyCapacity, StopFlag stop);

        uint PeerCapabilities { get; }

        /// <summary>Says goodbye and lets go. Twice is harmless.</summary>
        void Close(Reason reason);
    }

    /// <summary>The end that asks.</summary>
    internal interface IClientEnd : IDisposable
    {
        /// <summary>Begins to say HELLO; LookForWelcome goes on with it.</summary>
        void BeginHello(byte[] payload, ulong incarnation, ulong session);

        /// <summary>The WELCOME, or null where there is no answer yet; a refusal is thrown. It does not wait.</summary>
        Greeting LookForWelcome(out ulong incarnation, out ulong session);

        /// <summary>Waits a while for the answer.</summary>
        void Rest(double seconds);

        /// <summary>Takes over the slots that a WELCOME speaks of; each must hold its fixed area.</summary>
        SlotSession Attach(Greeting welcome, ulong incarnation, ulong session, long requestArea, long replyArea);

        uint PeerCapabilities { get; }

        void Check();

        string Name { get; }

        void Close(Reason reason);
    }
}
