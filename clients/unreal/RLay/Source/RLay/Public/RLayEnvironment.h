// An actor that makes its level an environment.

#pragma once

#include "CoreMinimal.h"
#include "GameFramework/Actor.h"
#include "RLayHeader.h"

#include "RLayEnvironment.generated.h"

/** What an environment is: what it observes and what it can do. */
USTRUCT(BlueprintType)
struct FRLayDefinition
{
	GENERATED_BODY()

	/** Numbers in an observation: a Box of float32 without bounds. */
	UPROPERTY(EditAnywhere, BlueprintReadWrite, Category = "RLay")
	int32 ObservationSize = 0;

	/** Choices of an action: a Discrete space. 0: actions are continuous. */
	UPROPERTY(EditAnywhere, BlueprintReadWrite, Category = "RLay")
	int32 ActionChoices = 0;

	/** Numbers in a continuous action, from -1 to 1 each: a Box of float32. */
	UPROPERTY(EditAnywhere, BlueprintReadWrite, Category = "RLay")
	int32 ActionSize = 0;
};

/** How an episode is to begin. */
USTRUCT(BlueprintType)
struct FRLayReset
{
	GENERATED_BODY()

	UPROPERTY(BlueprintReadOnly, Category = "RLay")
	bool bHasSeed = false;

	UPROPERTY(BlueprintReadOnly, Category = "RLay")
	int64 Seed = 0;
};

/** What the trainer wants done. */
USTRUCT(BlueprintType)
struct FRLayAction
{
	GENERATED_BODY()

	/** The choice, where actions are discrete. */
	UPROPERTY(BlueprintReadOnly, Category = "RLay")
	int32 Choice = 0;

	/** The numbers, where they are continuous. */
	UPROPERTY(BlueprintReadOnly, Category = "RLay")
	TArray<float> Values;
};

/** Where the level is now. */
USTRUCT(BlueprintType)
struct FRLayState
{
	GENERATED_BODY()

	/** As many numbers as FRLayDefinition::ObservationSize. */
	UPROPERTY(BlueprintReadWrite, Category = "RLay")
	TArray<float> Observation;

	/** What was earned since the last decision. Of no meaning after a reset. */
	UPROPERTY(BlueprintReadWrite, Category = "RLay")
	double Reward = 0.0;

	/** The task reached a terminal state: won, lost, fallen. */
	UPROPERTY(BlueprintReadWrite, Category = "RLay")
	bool bTerminated = false;

	/** The episode was cut short, as by a time limit. */
	UPROPERTY(BlueprintReadWrite, Category = "RLay")
	bool bTruncated = false;
};

/**
 * Put one into a level, derive it in C++ or Blueprint, and say what the environment is.
 *
 * In each tick it looks once for a decision of the trainer and never waits: the level goes
 * on while a trainer computes. Override the functions in C++, or the events of the same
 * name in Blueprint.
 */
UCLASS(Blueprintable)
class RLAY_API ARLayEnvironment : public AActor
{
	GENERATED_BODY()

public:
	ARLayEnvironment();

	/** The channel, or tcp://host:port/name. Empty: --rlay-channel= or RLAY_CHANNEL. */
	UPROPERTY(EditAnywhere, BlueprintReadWrite, Category = "RLay")
	FString Channel;

	/** Ticks for which an action is applied before the next decision is asked for. */
	UPROPERTY(EditAnywhere, BlueprintReadWrite, Category = "RLay", meta = (ClampMin = "1"))
	int32 ActionRepeat = 1;

	/** Says what the environment is. Called once, when play begins. */
	virtual void Initialize(FRLayDefinition& OutDefinition);
	/** Begins an episode and says how it begins. */
	virtual void Reset(const FRLayReset& How, FRLayState& OutState);
	/** Applies an action. Called in each tick for as long as it lasts. */
	virtual void Step(const FRLayAction& Action);
	/** Says where the level is, at the end of an action. Asked in each tick, so that an
	 *  episode that ends in the midst of an action is told at once; the reward is reset
	 *  to what you say here, so add it up yourself between two decisions. */
	virtual void Observe(FRLayState& OutState);
	/** Plays without a trainer. Called in each tick while there is none. */
	virtual void Heuristic();

	UFUNCTION(BlueprintImplementableEvent, Category = "RLay", meta = (DisplayName = "Initialize"))
	void K2_Initialize(UPARAM(ref) FRLayDefinition& Definition);
	UFUNCTION(BlueprintImplementableEvent, Category = "RLay", meta = (DisplayName = "Reset"))
	void K2_Reset(const FRLayReset& How, UPARAM(ref) FRLayState& State);
	UFUNCTION(BlueprintImplementableEvent, Category = "RLay", meta = (DisplayName = "Step"))
	void K2_Step(const FRLayAction& Action);
	UFUNCTION(BlueprintImplementableEvent, Category = "RLay", meta = (DisplayName = "Observe"))
	void K2_Observe(UPARAM(ref) FRLayState& State);
	UFUNCTION(BlueprintImplementableEvent, Category = "RLay", meta = (DisplayName = "Heuristic"))
	void K2_Heuristic();

	/** Whether a trainer has taken this level in. */
	UFUNCTION(BlueprintCallable, BlueprintPure, Category = "RLay")
	bool IsConnected() const { return Backend.connected(); }

	/** Why the environment does not play; empty where nothing is wrong. */
	UFUNCTION(BlueprintCallable, BlueprintPure, Category = "RLay")
	FString GetProblem() const { return Problem; }

	virtual void BeginPlay() override;
	virtual void EndPlay(const EEndPlayReason::Type Reason) override;
	virtual void Tick(float DeltaSeconds) override;

private:
	void Look();
	void Decide(const rlay::Decision& Decision);
	void GoOn();
	bool Fill(rlay::Value& Observation);
	void Fail(const rlay::Status& Status);

	FRLayDefinition Definition;
	FRLayAction Action;
	FRLayState State;
	FString Problem;
	rlay::Backend Backend;
	rlay::First First;
	rlay::Transition Transition;
	int32 TicksLeft = 0;
};
