using UnityEngine;

namespace RLay
{
    /// <summary>How often the agent beside it is given an action.</summary>
    public sealed class RLayDecisionRequester : MonoBehaviour
    {
        /// <summary>Ticks of the physics from one decision to the next, at least 1.</summary>
        public int DecisionPeriod = 1;

        /// <summary>Whether the last action is applied in each tick between, too.</summary>
        public bool TakeActionsBetweenDecisions = true;
    }
}
