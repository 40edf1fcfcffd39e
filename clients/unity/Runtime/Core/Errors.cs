using System;

namespace RLay
{
    /// <summary>The base of everything that RLay throws.</summary>
    public class RLayException : Exception
    {
        public RLayException(ErrorCode code, string message, Exception cause = null)
            : base(message, cause)
        {
            Code = code;
        }

        /// <summary>The number that the other end is told.</summary>
        public ErrorCode Code { get; private set; }

        /// <summary>Class of the exception at the other end; empty where there was none.</summary>
        public string RemoteType { get; internal set; } = "";

        /// <summary>Its traceback; empty where there was none.</summary>
        public string RemoteTraceback { get; internal set; } = "";
    }

    /// <summary>A method was called at a moment when it must not be. Nothing was sent.</summary>
    public sealed class MisuseException : RLayException
    {
        public MisuseException(string message) : base(ErrorCode.Unsupported, message) { }
    }

    /// <summary>The other end broke the protocol: the session is over.</summary>
    public class ProtocolException : RLayException
    {
        public ProtocolException(string message, Exception cause = null)
            : base(ErrorCode.Protocol, message, cause) { }
    }

    /// <summary>The other end speaks another major version.</summary>
    public sealed class VersionMismatchException : RLayException
    {
        public VersionMismatchException(string what, uint theirs)
            : base(ErrorCode.Version, what + " speaks version " + theirs + " of the protocol, this end version "
                   + Protocol.Version + ": upgrade the older end") { }
    }

    /// <summary>A message exceeds max_message_bytes.</summary>
    public sealed class MessageTooLargeException : RLayException
    {
        public MessageTooLargeException(long bytes, long limitBytes)
            : base(ErrorCode.TooLarge, "a message of " + bytes + " bytes exceeds the limit of " + limitBytes
                   + ": raise max_message_bytes at both ends, or send less") { }
    }

    /// <summary>An observation is not in the space that was promised. Nothing was sent.</summary>
    public sealed class SpaceMismatchException : RLayException
    {
        public SpaceMismatchException(string message) : base(ErrorCode.SpaceMismatch, message) { }
    }

    /// <summary>Something that cannot be expressed in a message. Nothing was sent.</summary>
    public sealed class UnsendableException : RLayException
    {
        public UnsendableException(string message) : base(ErrorCode.UnsendableInfo, message) { }
    }

    /// <summary>The channel's files or its name: no such channel, in use, not ours.</summary>
    public sealed class ChannelException : RLayException
    {
        public ChannelException(ErrorCode code, string message) : base(code, message) { }
    }

    /// <summary>The other end is gone; Reason says whether with a goodbye.</summary>
    public sealed class PeerGoneException : RLayException
    {
        public PeerGoneException(Reason reason, string message) : base(ErrorCode.EnvironmentGone, message)
        {
            Reason = reason;
        }

        public Reason Reason { get; private set; }

        /// <summary>Whether it said goodbye.</summary>
        public bool Closed { get; internal set; }
    }

    /// <summary>A time that was given is over.</summary>
    public sealed class RLayTimeoutException : RLayException
    {
        public RLayTimeoutException(string message) : base(ErrorCode.NotFound, message) { }
    }

    /// <summary>The wait was ended by a StopFlag of this program.</summary>
    public sealed class StoppedException : RLayException
    {
        public StoppedException() : base(ErrorCode.Draining, "this end was told to stop") { }
    }

    /// <summary>The server refused this client; Code and message are its own.</summary>
    public sealed class RefusedException : RLayException
    {
        public RefusedException(ErrorCode code, string message) : base(code, message) { }
    }
}
